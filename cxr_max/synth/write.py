"""Write a whole world: MIMIC tree, benchmark-shaped sets, raw teacher outputs and the truth, all or nothing.

Everything is written into a hidden folder beside the target and renamed at the end, so that a killed run leaves
nothing that looks finished.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max import __version__
from cxr_max.folders import fsync_dir, is_restricted, new_dir, output_dir, refuse_git, sibling
from cxr_max.progress import track
from cxr_max.synth import publicsets, tables, temporal
from cxr_max.synth.block import BLOCK, Block, Task, run
from cxr_max.synth.config import WorldConfig, validate
from cxr_max.synth.profiles import profiles, rates
from cxr_max.synth.truth import COLUMNS, schema
from cxr_max.synth.world import World, make_world

T = TypeVar("T")
R = TypeVar("R")

MARKER = "SYNTHETIC"
_NOTE = """Everything in this folder is synthetic: no patient, report, image or model output in it is real.
Made by cxr-max {version} from seed {seed}. It has the layout of PhysioNet's MIMIC-CXR and MIMIC-CXR-JPG 2.1.0
or of the public set whose name its folder bears, and nothing else in common with them.
"""


class Written(NamedTuple):
    """What was written: the folder, and how much of each."""

    path: Path
    subjects: int
    studies: int
    images: int
    instances: int
    trajectories: int


def write_world(config: WorldConfig, out: Path | str, *, overwrite: bool = False) -> Written:
    """Write the world of a configuration.

    Args:
        config: what to make.
        out: a new or empty folder; it gets `mimic/`, `eval/`, `raw/` and `truth/`.
        overwrite: replace what is there.

    Raises:
        UsageError: a bad value, or a folder that cannot be written or is not empty; nothing is written then.
    """
    config, out = validate(config), Path(out)
    new_dir(out, overwrite=overwrite)
    if is_restricted(synthetic=True):
        refuse_git(out)
    world = make_world(config)
    with sibling(out) as draft:
        draft.chmod(0o777 & ~_umask())
        output_dir(draft, synthetic=True)
        _fill(draft, world, config)
        _replace(draft, out)
    return Written(
        out,
        len(world.subject_id),
        len(world.study_id),
        len(world.dicom_id),
        len(world.instance),
        len(world.instance) * len(config.teachers) * config.generations,
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _replace(draft: Path, out: Path) -> None:
    """Put the finished draft in place of `out`, and flush the rename."""
    if out.exists() and any(out.iterdir()):
        with sibling(out) as aside:
            out.rename(aside)
            draft.rename(out)
            shutil.rmtree(aside)
    else:
        draft.rename(out)
    fsync_dir(out.parent)


def _fill(draft: Path, world: World, config: WorldConfig) -> None:
    mimic, raw, truth = draft / "mimic", draft / "raw", draft / "truth"
    for folder in (mimic, raw, truth):
        folder.mkdir()
    for folder in (draft, mimic):
        (folder / MARKER).write_text(_NOTE.format(version=__version__, seed=config.seed), encoding="utf-8")
    (mimic / "README").write_text(_NOTE.format(version=__version__, seed=config.seed), encoding="utf-8")
    (mimic / "LICENSE.txt").write_text("Synthetic data, free to use: Apache License 2.0.\n", encoding="utf-8")
    csv: dict[str, list[tuple[Any, ...]]] = {name: [] for name in tables.COLUMNS}
    reports: list[str] = []
    with contextlib.ExitStack() as stack:
        writers = {n: stack.enter_context(pq.ParquetWriter(truth / f"{n}.parquet", schema(n))) for n in COLUMNS}
        files = {t: stack.enter_context((raw / f"{t}.jsonl").open("wb")) for t in config.teachers}
        starts = range(0, len(world.subject_id), BLOCK)
        tasks = (Task(world.part(a, min(a + BLOCK, len(world.subject_id))), a, config, mimic) for a in starts)
        for block in track(spread(run, tasks, config.jobs), "patients, reports, teachers", total=len(starts)):
            _take(block, writers, files)
            for name, records in block.csv.items():
                csv[name].extend(records)
            reports.extend(block.reports)
    _eval_sets(draft / "eval", world, config)
    for name, columns in tables.COLUMNS.items():
        tables.write_csv(mimic / name, columns, csv[name])
    tables.zip_reports(mimic, reports)
    tables.write_sums(mimic)
    _describe(truth / "profiles.json", config)


def _eval_sets(folder: Path, world: World, config: WorldConfig) -> None:
    """The benchmark-shaped sets, each in a folder with the name of its root."""
    temporal.write(world, folder / "ms-cxr-t", Random(f"{config.seed}/ms-cxr-t"))
    count = min(200, max(12, len(world.subject_id) // 5))
    tasks = [(name, folder / name, config, count) for name in publicsets.SETS]
    for _ in track(spread(publicsets.write_set, tasks, config.jobs), "benchmark sets", total=len(tasks)):
        pass
    for name in ("ms-cxr-t", *publicsets.SETS):
        (folder / name / MARKER).write_text(_NOTE.format(version=__version__, seed=config.seed), encoding="utf-8")


def _take(block: Block, writers: dict[str, Any], files: dict[str, Any]) -> None:
    for teacher, data in block.raw.items():
        files[teacher].write(data)
    for name, table in block.truth.items():
        if table.num_rows:
            writers[name].write_table(table)


def _describe(path: Path, config: WorldConfig) -> None:
    kept = {k: v for k, v in config.__dict__.items() if k != "jobs"}
    content = {
        "synthetic": True,
        "seed": config.seed,
        "note": "sensitivity and invention are set to published values (Figure 1a); no model was measured",
        "config": kept,
        "teachers": {t: rates(p) for t, p in profiles().items() if t in config.teachers},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def spread(work: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[R]:
    """Results of `work` in the order of the tasks, over `jobs` processes, with few of them in memory at a time."""
    if jobs == 1:
        yield from map(work, tasks)
        return
    # Not fork: polars and pyarrow hold threads.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[R]] = deque()
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_table(path: Path) -> pa.Table:
    """A truth table of a written world."""
    return pq.read_table(path)
