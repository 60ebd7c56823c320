"""Drift report at full size: `python -m benchmarks.drift_scale [--tiny]`.

170,982 trajectories of 24,426 instances with their findings and steps as stored tables and reports as texts; tfidf,
2,000 draws, everything but the encoder, against 10 minutes and 4 GB. Beside it: a bootstrap draw on sufficient
statistics against scoring a resampled release again, and shards against the whole. The rows are drawn from a few
simulated phrases: this measures time and memory, not statistics.
"""

import resource
import time
from typing import Any

import numpy as np
import polars as pl

from benchmarks import common
from cxr_max import drift, findings
from cxr_max.drift import per_teacher, ratios
from cxr_max.drift.sources import TextTables
from cxr_max.drift.stats import finding_alignment
from cxr_max.schema import FINDINGS
from cxr_max.teachers import TEACHER_IDS

FULL, TINY = 24_426, 60
STEPS, WORDS = 16, 300
BUDGET_S, BUDGET_MIB = 600, 4096


def main(tiny: bool = False) -> None:
    """Make the tables, time every part, print and write the figures."""
    n = TINY if tiny else FULL
    draws = 50 if tiny else 2000
    tables = make(n, seed=1)
    base = common.peak_mib()
    config = drift.Config(draws=draws, permutations=19 if tiny else 199, embedding_n=20 if tiny else 2000)
    begun, cpu = time.perf_counter(), _cpu()
    report = drift.report(tables, draws=draws, permutations=config.permutations, embedding_n=config.embedding_n)
    wall, spent = time.perf_counter() - begun, _cpu() - cpu
    figures: dict[str, Any] = {
        "instances": n,
        "trajectories": report.about["n_trajectories"],
        "findings": len(report.encoded.findings.row),
        "draws": draws,
        "wall_s": round(wall, 1),
        "cpu_s": round(spent, 1),
        "budget_s": BUDGET_S,
        "peak_mib": common.peak_mib(),
        "peak_before_mib": base,
        "budget_mib": BUDGET_MIB,
        "bootstrap": bootstrap_ratio(report, config),
    }
    common.write("drift_scale", figures, tiny=tiny, packages=("numpy", "polars", "scikit-learn"))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bootstrap_ratio(report: drift.DriftReport, config: drift.Config) -> dict[str, Any]:
    """Processor time of one draw on cached sums, against building and scoring the sets of the release again."""
    encoded = report.encoded
    units = per_teacher.units(encoded)

    def rescore() -> list[ratios.Ratio]:
        scored = per_teacher.score(encoded, config)
        overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, encoded))
        return per_teacher.overlap_ratios(units, overlap, scored.has_I[encoded.instance_T], finding="all")

    once = common.seconds(rescore, 1)
    found = rescore()
    many = common.seconds(lambda: ratios.estimate(units, found, [], encoded.vocabulary.teachers, (config.draws, 0)), 1)
    per_draw = many["cpu_s"] / config.draws
    return {
        "rescore_cpu_s": once["cpu_s"], "draw_cpu_s": round(per_draw, 6), "ratio": round(once["cpu_s"] / per_draw)
    }  # fmt: skip


def make(n: int, seed: int) -> TextTables:
    """Tables of a release of the given size: findings and steps stored, texts of about 300 words, reports."""
    rng = np.random.default_rng(seed)
    per_patient = rng.integers(1, 4, n)
    patient = np.repeat(np.arange(n), per_patient)[:n]
    ids = [f"{k:08x}-{k:08x}-{k:08x}-{k:08x}-{k:08x}" for k in rng.permutation(n)]
    names = [name for name in FINDINGS if name != "No Finding"]
    diseases = [sorted(rng.choice(names, rng.integers(1, 4), replace=False).tolist()) for _ in range(n)]
    instances = pl.DataFrame(
        {
            "instance_id": ids, "subject_id": patient, "study_id": np.arange(n), "split": ["train"] * n,
            "view": rng.choice(["PA", "AP", "LATERAL"], n), "diseases": diseases,
        }
    )  # fmt: skip
    words = np.array(sorted({w for c in findings.concepts().values() for p in c.phrases for w in p.split()}))[:800]
    text = [" ".join(rng.choice(words, WORDS)) for _ in range(500)]
    n_u = len(TEACHER_IDS)
    keys = pl.DataFrame(
        {"instance_id": np.repeat(np.array(ids, dtype=object), n_u).tolist(), "teacher": list(TEACHER_IDS) * n}
    ).with_columns(pl.lit(0, pl.UInt8).alias("generation"))
    trajectories = keys.with_columns(
        pl.Series("trajectory", [text[k] for k in rng.integers(0, len(text), n * n_u)]),
        pl.lit(WORDS).alias("n_words"), pl.lit(STEPS).alias("n_steps"), pl.lit(False).alias("refusal"),
    )  # fmt: skip
    reports = [". ".join(rng.choice(_SENTENCES, 6)) + "." for _ in range(n)]
    references = instances.select("instance_id", "subject_id", "study_id").with_columns(
        pl.Series("findings", reports),
        pl.Series("impression", [". ".join(rng.choice(_SENTENCES, 2)) for _ in range(n)]),
    )
    stored = {"findings": _findings(keys, rng), "steps": _steps(keys)}
    return TextTables(
        {"instances": instances, "trajectories": trajectories, "references": references, **stored},
        {"synthetic": True, "version": "scale", "dataset": "simulated"},
    )


_SENTENCES = (
    "There is a small left pleural effusion", "There is a moderate right pleural effusion", "No pneumothorax is seen",
    "The heart is mildly enlarged", "There is left basilar atelectasis", "Right lower lobe consolidation is present",
    "No acute fracture", "A right internal jugular central line is in place", "Mild pulmonary edema",
    "The mediastinum is not widened", "Possible right upper lobe pneumonia", "A left chest tube is unchanged",
)  # fmt: skip


def _findings(keys: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """About 15 findings a trajectory."""
    concepts = findings.concepts()
    ids = np.array(list(concepts), dtype=object)
    n = len(keys)
    owner = np.sort(rng.integers(0, n, 15 * n))
    concept = rng.integers(0, len(ids), len(owner))
    label = [concepts[c].label for c in ids]
    return keys[owner].with_columns(
        pl.Series("i", np.arange(len(owner)) % 60_000).cast(pl.UInt16),
        pl.Series("step", rng.integers(0, STEPS, len(owner))).cast(pl.UInt16),
        pl.Series("concept", ids.tolist()).gather(concept).alias("concept"),
        pl.Series("label", label, dtype=pl.String).gather(concept).alias("label"),
        pl.Series("status", ["present", "uncertain", "absent"]).gather(rng.integers(0, 3, len(owner))).alias("status"),
        pl.Series("side", ["left", "right", None]).gather(rng.integers(0, 3, len(owner))).alias("side"),
        pl.Series("zone", ["upper", "lower", None]).gather(rng.integers(0, 3, len(owner))).alias("zone"),
        pl.lit("1").alias("lexicon_version"),
    )


def _steps(keys: pl.DataFrame) -> pl.DataFrame:
    """Sixteen steps a trajectory, under three headings."""
    n = len(keys)
    section = pl.Series("section", ["Pleural effusion", "Heart", "Conclusion", None])
    return keys[np.repeat(np.arange(n), STEPS)].with_columns(
        pl.Series("step", np.tile(np.arange(STEPS), n)).cast(pl.UInt16),
        section.gather(np.tile(np.arange(STEPS) // 4, n)).alias("section"),
        pl.Series("generic", np.tile(np.arange(STEPS) % 5 == 4, n)),
    )


if __name__ == "__main__":
    common.run(main, __doc__)
