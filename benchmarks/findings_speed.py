"""Speed of finding extraction on synthetic trajectories, beside negspacy and medspacy on the same texts.

All get the same lexicon. Figures are processor seconds, so that a busy machine does not decide. The whole set of
170,982 trajectories is projected from words per second: the published texts have 100 to 650 words, ours about as many.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks._findings_peers import PEERS, run
from cxr_max import findings, synth

PUBLISHED = 170_982


def main(tiny: bool) -> None:
    """Extract from 300 (tiny: 2) instances' trajectories by every package, and by ours with two processes."""
    texts = _texts(2 if tiny else 300)
    few = texts[:: max(1, len(texts) // (4 if tiny else 280))]
    words = sum(len(t.split()) for t in texts)
    findings.extract("warm effusion")
    ours = [_cpu(lambda: [findings.extract(t) for t in texts]) for _ in range(1 if tiny else 3)]
    per_word = statistics.median(ours) / words
    begun = time.perf_counter()
    done = sum(1 for _ in findings.extract_many(texts, jobs=2))
    figures: dict[str, Any] = {
        "texts": len(texts), "words": words, "texts_for_peers": len(few), "extracted_by_two_processes": done,
        "ours_cpu_us_per_word": round(per_word * 1e6, 3),
        "ours_two_processes_wall_s": round(time.perf_counter() - begun, 2),
        "projected_cpu_s_for_170982": round(per_word * words / len(texts) * PUBLISHED, 1),
        "projected_wall_s_for_170982_on_2_cores": round(per_word * words / len(texts) * PUBLISHED / 2, 1),
    }  # fmt: skip
    same = min(_cpu(lambda: [findings.extract(t) for t in few]) for _ in range(2))
    for name in () if tiny else PEERS:
        result = run(name, few, repeats=2)
        if result is None:
            figures[name] = "missing"
            continue
        theirs = min(result["seconds"])
        words_few = sum(len(t.split()) for t in few)
        figures[name] = {
            "versions": result["versions"], "cpu_us_per_word": round(theirs / words_few * 1e6, 3),
            "times_slower_than_ours": round(theirs / same, 1),
        }  # fmt: skip
    common.write("findings_speed", figures, tiny=tiny)


def _texts(instances: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "world"
        synth.write_world(synth.WorldConfig(instances=instances, seed=5, images=False), out)
        files = sorted((out / "raw").glob("*.jsonl"))
        return [json.loads(line)["response"] for f in files for line in f.read_text(encoding="utf-8").splitlines()]


def _cpu(work: Any) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    common.run(main, __doc__)
