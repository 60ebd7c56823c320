"""Building a release at full size, beside `datasets` that turns the same JSON Lines into Parquet.

    python -m benchmarks.build_release [--tiny]

Raw rows come from the text-only synthetic world (24,426 instances x 7 teachers). Measured: the build on every core with
its memory; the build in one process with the time of each stage, segmentation apart; `load_dataset("json")` and
`to_parquet` on the same files; reading one instance, and one teacher, against reading everything; verify and diff.
Each build runs in a process of its own, so that its peak memory is its own.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common

INSTANCES, TINY = 24_426, 60


def main(tiny: bool) -> None:
    """Write a world, build it in several ways, measure."""
    from cxr_max.synth import WorldConfig, write_world

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = os.environ.get("CXR_MAX_BENCH_RAW")
        raw = Path(given) if given and not tiny else folder / "world" / "raw"
        if not raw.is_dir():
            write_world(WorldConfig(instances=TINY if tiny else INSTANCES, images=False), folder / "world")
        os.environ["CXR_MAX_CACHE"] = str(folder / "cache")
        cores = os.cpu_count() or 1
        peer = _child("peer", raw, folder / "peer")
        alone = _child("alone", raw, folder / "alone")
        built = _child("build", raw, folder / "built", cores)
        rest = alone["seconds"] - alone["stages_s"]["segmentation"]
        rest_cpu = alone["cpu_s"] - alone["stages_cpu_s"]["segmentation"]
        figures = {
            "raw_mb": round(sum(p.stat().st_size for p in raw.iterdir()) / 1e6, 1),
            "build_all_cores": {**built, "allowed_s": 120, "allowed_peak_mib": 1500},
            "build_one_process": alone,
            "datasets_json_to_parquet": peer,
            "all_but_segmentation_s": round(rest, 2),
            "ratio_to_datasets": round(rest / peer["seconds"], 2),
            "cpu_ratio_to_datasets": round(rest_cpu / peer["cpu_s"], 2),
            "allowed_ratio": 5,
            "reading": _child("read", folder / "built", folder / "none"),
            "verify": _child("verify", folder / "built", folder / "none"),
            "diff": _child("diff", folder / "built", raw, cores),
        }
        common.write("build_release", figures, tiny=tiny, packages=("datasets", "polars", "pyarrow"))


def _child(what: str, *args: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.build_release", what, *map(str, args)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(work: Callable[[], object], jobs: int = 0) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    with common.PeakPss() as held:
        work()
    figures = {"seconds": time.perf_counter() - wall, "cpu_s": sum(os.times()[:4]) - cpu}
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = jobs * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if jobs else 0
    # `peak_mib` counts every worker with the peak of the largest and shared pages many times: an upper bound.
    peaks = {"peak_mib": round((own + workers) / 1024), "peak_pss_mib": held.mib}
    return {k: round(v, 2) for k, v in figures.items()} | peaks


def _build(raw: str, out: str, jobs: str) -> dict[str, Any]:
    from cxr_max import data

    return _measure(lambda: data.build([raw], out, findings=False, jobs=int(jobs)), int(jobs))


def _alone(raw: str, out: str) -> dict[str, Any]:
    """The build in one process, with the seconds of each stage."""
    from cxr_max import data, findings
    from cxr_max.data import analyse, building, content, sources, writing

    wall: dict[str, float] = {}
    cpu: dict[str, float] = {}

    def timed(name: str, owner: Any, attribute: str) -> None:
        real = getattr(owner, attribute)

        def call(*args: Any, **kwargs: Any) -> Any:
            begun, before = time.perf_counter(), time.process_time()
            try:
                return real(*args, **kwargs)
            finally:
                wall[name] = wall.get(name, 0.0) + time.perf_counter() - begun
                cpu[name] = cpu.get(name, 0.0) + time.process_time() - before

        setattr(owner, attribute, call)

    timed("segmentation", findings, "segment")
    timed("read_and_check_rows", building, "ingest")
    timed("settle_and_number", building, "_tables")
    timed("steps_to_frames", analyse, "step_frame")
    timed("write_parquet", writing.ShardWriter, "write")
    timed("content_hashes", content.Hasher, "update")
    timed("file_hashes_of_sources", sources.Source, "describe")
    timed("flush_documents_move", building, "finish")
    figures = _measure(lambda: data.build([raw], out, findings=False, jobs=1))
    wall["other"] = figures["seconds"] - sum(wall.values())
    cpu["other"] = figures["cpu_s"] - sum(cpu.values())
    return figures | {"stages_s": _rounded(wall), "stages_cpu_s": _rounded(cpu)}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 2) for k, v in values.items()}


def _peer(raw: str, out: str) -> dict[str, Any]:
    import datasets

    files = sorted(map(str, Path(raw).iterdir()))

    def work() -> None:
        loaded = datasets.load_dataset("json", data_files=files, split="train", cache_dir=f"{out}/cache")
        loaded.to_parquet(f"{out}/all.parquet")

    datasets.disable_progress_bars()
    return _measure(work)


def _read(release: str, _: str) -> dict[str, Any]:
    """Warm: the median of some repeats, in milliseconds."""
    import polars as pl

    from cxr_max import data

    opened = data.open_release(release)
    ids = opened.scan("instances").collect()["instance_id"].sort()
    one, teacher = ids[len(ids) // 2], opened.scan("trajectories").head(1).collect()["teacher"][0]
    scan = opened.scan("trajectories")
    whole = common.seconds(lambda: scan.collect())
    picked = common.seconds(lambda: scan.filter(pl.col("instance_id") == one).collect(), 7)
    single = common.seconds(lambda: scan.filter(pl.col("teacher") == teacher).collect())
    return {
        "everything_ms": round(1000 * whole["wall_s"], 1),
        "one_instance_ms": round(1000 * picked["wall_s"], 1),
        "one_teacher_ms": round(1000 * single["wall_s"], 1),
        "one_instance_share": round(picked["wall_s"] / whole["wall_s"], 4),
        "one_instance_cpu_share": round(picked["cpu_s"] / whole["cpu_s"], 4),
        "allowed_share": 0.05,
    }


def _verify(release: str, _: str) -> dict[str, Any]:
    from cxr_max import data

    return _measure(lambda: data.open_release(release).verify().problems and sys.exit("problems"))


def _diff(release: str, raw: str, jobs: str) -> dict[str, Any]:
    """Against a release of the same rows, one of whose trajectories in a hundred has other words."""
    from cxr_max import data

    with tempfile.TemporaryDirectory() as name:
        changed = Path(name) / "changed.jsonl"
        with changed.open("w") as file:
            for path in sorted(Path(raw).iterdir()):
                for i, line in enumerate(path.open()):
                    row = json.loads(line)
                    row["response"] += " More." if i % 100 == 0 else ""
                    file.write(json.dumps(row) + "\n")
        _child("build", changed, f"{name}/other", jobs)
        old, new = data.open_release(release), data.open_release(f"{name}/other")
        return _measure(lambda: old.diff(new).same and sys.exit("no difference found"))


if __name__ == "__main__":
    children = {"build": _build, "alone": _alone, "peer": _peer, "read": _read, "verify": _verify, "diff": _diff}
    if len(sys.argv) > 1 and sys.argv[1] in children:
        print(json.dumps(children[sys.argv[1]](*sys.argv[2:])))
    else:
        common.run(main, __doc__)
