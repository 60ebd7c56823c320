"""The rates of the report against what the simulator says was asserted, within the benchmark's committed tolerances.

One world of the benchmark's own making, smaller than its worlds and of another seed: a rate holds when it lies within
its tolerance and two standard errors of the paired difference, patients resampled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import drift_truth
from cxr_max import drift
from cxr_max.drift import per_teacher, resample
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.stats._common import Floats, divide

SEED, SUBJECTS = 96001, 60
RATES = (
    "precision", "recall", "precision/micro", "recall/micro", "laterality_flip_rate/micro", "negation_flip_rate/micro",
    "contradiction_rate/micro", "invented_finding_rate/micro", "hedging_rate/micro", "refusal_rate",
    "grounding_accuracy/micro",
)  # fmt: skip
"""All that hold in the benchmark; the rate of invented devices does not, see its results."""


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoded, Encoded]:
    """A world as measured and as asserted."""
    world = drift_truth.make(tmp_path_factory.mktemp("truth"), SEED, SUBJECTS)
    source = drift_truth.joined(world)
    said = drift_truth.truth(world, "assertions")
    measured = drift_truth.of_world(drift.encode(source, drift.Config()))
    return measured, drift_truth.oracle(world, source, said.filter(said["outcome"] != "missed"), measured)


@pytest.fixture(scope="module")
def compared(readings: tuple[Encoded, Encoded]) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Of each rate: measured and true value of every teacher, and the standard error of their difference."""
    (patients, sums), (_, true) = (_sums(e) for e in readings)
    out = {}
    for name in RATES:
        a, b = sums[name], true[name]
        width = a.shape[1] // 2

        def gap(of: Floats, width: int = width) -> Floats:
            return divide(of[..., :width], of[..., width : 2 * width]) - divide(
                of[..., 2 * width : 3 * width], of[..., 3 * width :]
            )

        error = resample.bootstrap(np.hstack([a, b]), gap, draws=200, seed=0).error
        assert len(a) == patients
        values = [divide(x[:, :width].sum(axis=0), x[:, width:].sum(axis=0)) for x in (a, b)]
        out[name] = (values[0], values[1], error)
    return out


def _sums(encoded: Encoded) -> tuple[int, dict[str, Floats]]:
    """Numerators and denominators per patient and teacher of every rate."""
    config = drift.Config()
    u = per_teacher.units(encoded)
    ratios, _ = per_teacher.headline_ratios(encoded, config, per_teacher.score(encoded, config), u)
    n_u = len(encoded.vocabulary.teachers)
    found: dict[str, Any] = {}
    for ratio in (*ratios, *per_teacher.grounding_ratios(encoded, config, u)):
        name = str(ratio.name["metric"]) + ("" if ratio.name["averaging"] == "macro" else "/micro")
        found[name] = np.hstack([ratio.numerator_PU[:, :n_u], ratio.denominator_PU[:, :n_u]])
    return u.n_patients, found


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_the_true_one(compared: dict[str, tuple[Floats, Floats, Floats]], name: str) -> None:
    measured, true, error = compared[name]
    allowed = drift_truth.PLAN["tolerance"]["all"][name] + 2 * np.nan_to_num(error)
    assert np.isfinite(true).all()
    assert (np.abs(measured - true) <= allowed).all()


@pytest.mark.parametrize("name", ["precision", "recall", "hedging_rate/micro", "invented_finding_rate/micro"])
def test_teachers_stand_in_the_true_order(compared: dict[str, tuple[Floats, Floats, Floats]], name: str) -> None:
    measured, true, _ = compared[name]
    assert np.ptp(true) > 2 * drift_truth.PLAN["tolerance"]["all"][name]
    order = np.corrcoef(np.argsort(np.argsort(true)), np.argsort(np.argsort(measured)))[0, 1]
    assert order >= drift_truth.PLAN["order"]["least"]
