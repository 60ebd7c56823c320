"""BLEU, ROUGE-L and CIDEr against pycocoevalcap on the same 24,000 report-like texts, and the cost of a bootstrap.

python -m benchmarks.text_metrics [--tiny]
"""

import contextlib
import io
import random
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from benchmarks import common
from cxr_max.evaluation import metrics

PEERS = {"bleu": lambda: Bleu(4), "rouge_l": Rouge, "cider": Cider}


def texts(n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Random reports of 20 to 90 words over a vocabulary with the skew of real ones, and damaged copies."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(2000)]
    skew = [1 / (i + 3) for i in range(2000)]
    references = [" ".join(rng.choices(words, skew, k=rng.randint(20, 90))) for _ in range(n)]
    damaged = [" ".join(w if rng.random() > 0.3 else rng.choice(words) for w in r.split()) for r in references]
    return damaged, references


def main(tiny: bool) -> None:
    """Time both, check that they agree, time 2,000 bootstrap draws."""
    n, repeats = (200, 1) if tiny else (24_000, 3)
    predictions, references = texts(n)
    gts, res = {i: [r] for i, r in enumerate(references)}, {i: [p] for i, p in enumerate(predictions)}
    figures: dict[str, Any] = {"texts": n}
    totals = {"ours": 0.0, "peer": 0.0}
    for name, make in PEERS.items():
        metric = metrics.get(name)
        scores: dict[str, Any] = {}

        def ours(metric: Any = metric, scores: dict[str, Any] = scores) -> None:
            scores["ours"] = list(metric(predictions=predictions, references=references, profile="raw").values())

        def peer(make: Any = make, scores: dict[str, Any] = scores) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                scores["peer"] = make().compute_score(gts, res)[0]

        row = {"ours": common.seconds(ours, repeats), "peer": common.seconds(peer, 1)}
        difference = float(np.max(np.abs(np.array(scores["ours"]) - np.array(scores["peer"]))))
        assert difference < 1e-6, f"{name} differs from the peer by {difference}"
        for who in totals:
            totals[who] += row[who]["cpu_s"]
        figures[name] = {**row, "ratio_cpu": round(row["peer"]["cpu_s"] / row["ours"]["cpu_s"], 1)}
    figures["all_ratio_cpu"] = round(totals["peer"] / totals["ours"], 1)
    figures["bootstrap"] = _bootstrap(predictions[:5000], references[:5000], 20 if tiny else 2000)
    common.write("text_metrics", figures, tiny=tiny, packages=("pycocoevalcap", "numpy"))


def _bootstrap(predictions: list[str], references: list[str], draws: int) -> dict[str, Any]:
    """All three metrics on resampled reports: by statistics, and what re-scoring would cost."""
    rng = np.random.default_rng(0)
    size = len(references)
    chosen = [metrics.get(name) for name in PEERS]
    stats = [m.statistics(predictions=predictions, references=references, profile="raw") for m in chosen]

    def fast() -> None:
        weights = rng.multinomial(size, [1 / size] * size, size=draws)
        for m, s in zip(chosen, stats, strict=True):
            m.aggregate(s, weights)

    def rescore() -> None:
        for m in chosen:
            m(predictions=predictions, references=references, profile="raw")

    quick, once = common.seconds(fast, 1), common.seconds(rescore, 1)
    ratio = once["cpu_s"] * draws / quick["cpu_s"]
    return {"texts": size, "draws": draws, "ours": quick, "one_rescoring": once, "ratio_cpu": round(ratio)}


if __name__ == "__main__":
    common.run(main, __doc__)
