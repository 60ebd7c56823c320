"""Calibration of the drift tests and intervals: `python -m benchmarks.drift_calibration [--tiny] [--part PART]`.

Size at .05 of every test in six null worlds (2,000 repeats, seeds fixed in advance), coverage of the patient-clustered
intervals, and power of both tests along the steps over effect and patients. A band that does not hold .05 is reported,
never re-seeded.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import _null_worlds as worlds
from benchmarks import common
from cxr_max import doctor
from cxr_max.drift import permute, resample
from cxr_max.drift.stats import c2st, disagreement_trend, energy_distance, mmd, step_constancy
from cxr_max.drift.stats._common import divide

KINDS = ("stationary", "density", "lengths", "sections", "ordered", "unnamed")
TREND = "trend of disagreement"
FALSE_NULL = {"ordered": "step constancy", "unnamed": "step constancy"}
"""Worlds in which the null of a test is false although nothing drifts: texts share an order of kinds of statements, and
the test that permutes steps over kinds must reject. Its rate is printed there as what it is.
"""
PARTS = ("size", "power", "coverage", "coverage_by_method")
REPEATS, TINY = 2000, 200
PATIENTS = (30, 50, 100, 200)
METHODS: tuple[resample.Method, ...] = ("percentile", "bca", "wide", "student")
TRUE = {"mean": 0.0, "rate": 0.1}
STUDIES, PERMUTATIONS = 40, 99
SEED = 20261
BAND = 0.999
"""Family-wise: with some twenty tests, 95 % bands would all hold with probability .36 only."""
TINY_BAND = 0.045


def main(tiny: bool = False, only: str | None = None) -> None:
    """Run everything or one part, print and write the figures; at tiny size check the sizes against .05 -+ .045."""
    stored = common.RESULTS / "drift_calibration.json"
    kept: dict[str, Any] = {}
    if only and stored.is_file():
        result = json.loads(stored.read_text(encoding="utf-8"))
        kept = {k: v for k, v in result["figures"].items() if k in PARTS}
        kept["measured"] = result["figures"].get("measured") or {k: {"commit": result["commit"]} for k in kept}
    figures = kept | measure(TINY if tiny else REPEATS, only)
    figures["measured"] = kept.get("measured", {}) | figures["measured"]
    common.write("drift_calibration", figures, tiny=tiny, packages=("numpy", "scipy"))
    if tiny and "size" in figures:
        rates = [
            (f"{kind}: {test}", v["rate"]) for kind, row in figures["size"].items() for test, v in row.items()
            if v["null_holds"]
        ]  # fmt: skip
        outside = [name for name, rate in rates if rate > 0.05 + TINY_BAND]
        if outside:
            raise SystemExit(f"size at .05 above {0.05 + TINY_BAND}: {', '.join(outside)}")


def measure(repeats: int, only: str | None) -> dict[str, Any]:
    """Sizes, coverage, power, or one of them; `measured` tells of each part the commit and the processor time."""
    parts: dict[str, Callable[[], Any]] = {
        "size": lambda: {kind: sizes(kind, number, repeats) for number, kind in enumerate(KINDS)},
        "power": lambda: power(max(repeats // 10, 20)),
        "coverage": lambda: {str(n): coverage(n, repeats) for n in PATIENTS},
        "coverage_by_method": lambda: {
            kind: {str(n): {m: coverage(n, repeats, kind, m) for m in METHODS} for n in PATIENTS[:2]} for kind in TRUE
        },
    }
    out: dict[str, Any] = {"repeats": repeats, "studies": STUDIES, "permutations": PERMUTATIONS, "seed": SEED}
    measured = {}
    for name, make in parts.items():
        if only in (None, name):
            begun = time.process_time()
            out[name] = make()
            measured[name] = {"commit": doctor.commit(), "cpu_s": round(time.process_time() - begun, 1)}
    return {**out, "measured": measured}


def sizes(kind: str, number: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Rejections at .05 of every test in one null world, with the exact band and whether it holds .05."""
    ps: dict[str, list[float]] = {}
    for r in range(repeats):
        world = worlds.draw(kind, STUDIES, (SEED, number, r))
        for name, p in tests_of(world, r).items():
            ps.setdefault(name, []).append(p)
    return {
        name: {**banded(np.array(values) <= 0.05), "null_holds": not name.startswith(FALSE_NULL.get(kind, "-"))}
        for name, values in ps.items()
    }


def tests_of(world: worlds.World, seed: int) -> dict[str, float]:
    """p-values of all tests on one world."""
    steps = step_constancy.compute(world.slots, world.shape, permutations=PERMUTATIONS, seed=seed)
    trend = disagreement_trend.compute(worlds.claims_of(world), permutations=PERMUTATIONS, draws=0, seed=seed)
    x, y = world.values[:, :1], world.values[:, 1:2]
    swaps = permute.cluster_signs(world.patient, draws=PERMUTATIONS, seed=seed)
    energy = energy_distance.paired(x, y, swaps.signs_NB)
    phi = [mmd.random_features(z, scale=1.0, n_features=64, seed=seed) for z in (x, y)]
    kernel = mmd.paired(phi[0], phi[1], swaps.signs_NB)
    told = c2st.compute(world.values[:, :3], world.values[:, 3:6], world.patient, signs_NB=swaps.signs_NB, seed=seed)
    mean = permute.paired_mean((x - y)[:, 0], world.patient, draws=PERMUTATIONS, seed=seed)
    return {
        "step constancy, deviation": steps.p,
        "step constancy, slope": steps.p_slope,
        "step constancy, change point": steps.p_change,
        TREND: trend.p,
        "paired mean": mean.p,
        "energy distance": permute.p_value(energy.observed, energy.swapped),
        "mmd": permute.p_value(kernel.observed, kernel.swapped),
        "c2st": permute.p_value(told.auc, told.swapped),
    }


def banded(rejected: np.ndarray) -> dict[str, Any]:
    """Rate with its exact 99.9 % interval; `holds` .05, or `conservative` when the upper end is below .03."""
    interval = stats.binomtest(int(rejected.sum()), len(rejected)).proportion_ci(BAND, method="exact")
    return {
        "rate": round(float(rejected.mean()), 4), "low": round(interval.low, 4), "high": round(interval.high, 4),
        "holds_.05": bool(interval.low <= 0.05 <= interval.high), "conservative": bool(interval.high < 0.03),
    }  # fmt: skip


def _mean(sums: np.ndarray) -> np.ndarray:
    return divide(sums[..., :1], sums[..., 1:])


def coverage(patients: int, repeats: int, kind: str = "mean", method: resample.Method = "auto") -> dict[str, Any]:
    """How often an interval over clustered studies holds the true value; nominal .95.

    Args:
        patients: in each world, with one to five studies.
        repeats: worlds.
        kind: mean (of normal values, true 0) or rate (of events that differ between patients, true .1).
        method: of the interval; auto is what the report uses.
    """
    hits, used = [], ""
    for r in range(repeats):
        rng = np.random.default_rng((SEED, 99 if kind == "mean" else 98, patients, r))
        per_patient = rng.integers(1, 6, patients)
        owner = np.repeat(np.arange(patients), per_patient)
        if kind == "mean":
            values = rng.normal(size=patients)[owner] + rng.normal(size=len(owner))
        else:
            values = (rng.random(len(owner)) < rng.beta(0.5, 4.5, patients)[owner]).astype(float)
        sums = resample.patient_sums(np.column_stack([values, np.ones(len(values))]), owner, patients)
        found = resample.bootstrap(sums, _mean, draws=500, seed=r, method=method)
        hits.append(bool(found.low[0] <= TRUE[kind] <= found.high[0]))
        used = found.method
    found_band = stats.binomtest(sum(hits), len(hits)).proportion_ci(BAND, method="exact")
    return {
        "rate": round(float(np.mean(hits)), 4), "low": round(found_band.low, 4), "high": round(found_band.high, 4),
        "holds_.95": bool(found_band.low <= 0.95 <= found_band.high), "method": used,
    }  # fmt: skip


def power(repeats: int) -> dict[str, Any]:
    """Power of both tests along the steps over effect x studies; the effect 0 is the size.

    For the curve: share of teacher-own findings in the last bin. For the trend: share of the statements of the last
    step that are replaced by random ones, falling to none at the first step.
    """
    out: dict[str, Any] = {"step constancy": {}, TREND: {}}
    for studies in (40, 160):
        for effect in (0.0, 0.1, 0.2, 0.4):
            ps = np.array([_planted(studies, effect, r) for r in range(repeats)])
            for k, name in enumerate(out):
                out[name][f"{studies} studies, effect {effect}"] = round(float(np.mean(ps[:, k] <= 0.05)), 3)
    return out


def _planted(studies: int, effect: float, seed: int) -> tuple[float, float]:
    world = worlds.draw("stationary", studies, (SEED, 77, studies, int(100 * effect), seed))
    rng = np.random.default_rng((SEED, 78, seed))
    slots = world.slots
    own = (slots.bin == worlds.BINS - 1) & (rng.random(len(slots.bin)) < effect)
    changed = slots._replace(cell=np.where(own, slots.teacher, slots.cell))
    steps = step_constancy.compute(changed, world.shape, permutations=PERMUTATIONS, seed=seed)
    wrong = rng.random(len(slots.bin)) < effect * world.step / world.step.max()
    claimed = slots._replace(cell=np.where(wrong, rng.integers(0, worlds.CELLS, len(wrong)), slots.cell))
    said = worlds.claims_of(world._replace(slots=claimed))
    return steps.p, disagreement_trend.compute(said, permutations=PERMUTATIONS, draws=0, seed=seed).p


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    parser.add_argument("--part", choices=PARTS, help="measure this anew and keep the other stored figures")
    given = parser.parse_args()
    main(given.tiny, given.part)
