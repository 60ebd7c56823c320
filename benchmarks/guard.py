"""The guard over a full-size release: 170,982 trajectories against 227,835 reports, with planted passages.

Reports lie in `mimic-cxr-reports.zip`, trajectories in Parquet; both are made of sentences with a Zipf distribution, so
that reports share phrases as real ones do. Planted are 12 to 29 consecutive words of one report in random trajectories;
every one must be found, and nothing else. `cold` builds the index of phrases, `warm` finds it in the cache.
"""

import os
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import common
from cxr_max.mimic.guard import guard
from cxr_max.mimic.layout import open_root

FULL = {"reports": 227_835, "trajectories": 170_982, "planted": 1_000}
TINY = {"reports": 600, "trajectories": 700, "planted": 20}
SENTENCES, WORDS_OF_A_SENTENCE, SHARD = 60_000, 14, 20_000
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def _sentences(rng: np.random.Generator, vocabulary: list[str], n: int, words: int) -> list[str]:
    picks = np.minimum(rng.zipf(1.3, (n, words)), len(vocabulary)) - 1
    lengths = rng.integers(5, words * 2, n)
    return [" ".join(vocabulary[k] for k in row[:length]) for row, length in zip(picks, lengths, strict=True)]


def _world(folder: Path, size: dict[str, int]) -> tuple[Path, Path, set[int]]:
    """A root, a release's table of trajectories, and the rows in which a passage was planted."""
    rng = np.random.default_rng(0)
    vocabulary = ["".join(rng.choice(_LETTERS, rng.integers(2, 11))) for _ in range(20_000)]
    stock = _sentences(rng, vocabulary, SENTENCES, WORDS_OF_A_SENTENCE)
    picks = rng.integers(0, len(vocabulary), (1_000, 29))
    own = [" ".join(f"{vocabulary[i]}{j + 1}" for j, i in enumerate(row)) for row in picks]
    root, release = folder / "root", folder / "release"
    root.mkdir()
    release.mkdir()
    used = np.minimum(rng.zipf(1.2, (size["reports"], 6)), SENTENCES) - 1
    with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i, row in enumerate(used):
            patient, text = 10_000_000 + i // 3, ". ".join(stock[k] for k in row)
            if i < size["planted"]:
                text = f"{text}. {own[i % len(own)]}"
            archive.writestr(f"files/p{str(patient)[:2]}/p{patient}/s{50_000_000 + i}.txt", f" FINDINGS:\n\n {text}.\n")
    planted = set(rng.choice(size["trajectories"], size["planted"], replace=False).tolist())
    which = dict(zip(sorted(planted), range(size["planted"]), strict=True))
    other = _sentences(rng, [f"{word}0" for word in vocabulary], SENTENCES, WORDS_OF_A_SENTENCE)
    for start in range(0, size["trajectories"], SHARD):
        texts = []
        for i in range(start, min(start + SHARD, size["trajectories"])):
            parts = [other[k] for k in rng.integers(0, SENTENCES, 20)]
            # Sentences that very many patients' reports have, each between others.
            parts[2:8:2] = [stock[k] for k in rng.integers(0, 10, 3)]
            if i in which:
                words = own[which[i] % len(own)].split()
                parts[9] = " ".join(words[: rng.integers(12, 30)])
            texts.append("**Findings**\n- " + ".\n- ".join(parts) + ".")
        pl.DataFrame({"trajectory": texts}).write_parquet(release / f"part-{start:06d}.parquet")
    return root, release, planted


def main(tiny: bool) -> None:
    """Make the world, scan it cold and warm, and check what was found."""
    size = TINY if tiny else FULL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CXR_MAX_CACHE"] = str(folder / "cache")
        root, release, planted = _world(folder, size)
        figures: dict[str, object] = dict(size)
        for state in ("cold", "warm"):
            begun, cpu = time.perf_counter(), time.process_time()
            report = guard(release, open_root(root))
            figures[f"{state}_s"] = round(time.perf_counter() - begun, 1)
            figures[f"{state}_cpu_s"] = round(time.process_time() - cpu, 1)
            rows = {_row(leak.where, leak.at) for leak in report.leaks}
            figures[f"{state}_planted_found"] = len(rows & planted)
            figures[f"{state}_false_alarms"] = len(rows - planted)
        figures |= {
            "words_scanned": report.words,
            "stock_phrases": report.stock,
            "release_mib": round(report.bytes / 2**20, 1),
            "cache_mib": round(sum(f.stat().st_size for f in (folder / "cache").rglob("*.npy")) / 2**20, 1),
            "peak_mib": common.peak_mib(),
        }
    common.write("guard", figures, tiny=tiny, packages=("numpy", "polars", "pyarrow"))


def _row(where: str, at: str) -> int:
    return int(Path(where).stem.removeprefix("part-")) + int(at.split()[1].rstrip(",")) - 1


if __name__ == "__main__":
    common.run(main, __doc__)
