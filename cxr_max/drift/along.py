"""Along the reasoning: divergence curves over relative position, their tests, history against increment."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import claims, resample, states
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.extra import Rows
from cxr_max.drift.stats import disagreement_trend, jensen_shannon, kl_chain, step_constancy
from cxr_max.drift.stats._common import Floats, divide, entropy_bits
from cxr_max.drift.stats.step_constancy import Slots
from cxr_max.schema import FINDINGS

Ints = NDArray[np.int64]
KIND_ADJUSTED = "kind-adjusted"
"""View of the disagreement about a statement over its place among statements of its role and polarity."""
_LABELS = len(FINDINGS)


class View(NamedTuple):
    """One way to look along the reasoning: `name`, its slots and their instances, and (topics, bins, teachers,
    cells).
    """

    name: str
    slots: Slots
    instance: Ints
    shape: tuple[int, int, int, int]


def plain_view(encoded: Encoded, borne: states.Bearing, n_bins: int) -> View:
    """Bins of relative time over the whole trajectory; contents move inside the trajectory."""
    bins = np.minimum((borne.time * n_bins).astype(np.int64), n_bins - 1)
    view = _view(encoded, borne, "plain", borne.row, np.zeros_like(bins), bins, (1, n_bins))
    coarse = view.slots._replace(cell=view.slots.cell // 3)
    return view._replace(slots=coarse, shape=(*view.shape[:3], states.N_CELLS))


def aligned_view(encoded: Encoded, borne: states.Bearing) -> View:
    """Topic of a step x relative position inside it; contents move inside the topic of a trajectory.

    Teachers treat the diagnoses in different order, so only this view compares like with like.
    """
    bins = np.minimum((borne.position * states.ALIGNED_BINS).astype(np.int64), states.ALIGNED_BINS - 1)
    group = borne.row * states.N_TOPICS + borne.topic
    view = _view(encoded, borne, "topic-aligned", group, borne.topic, bins, (states.N_TOPICS, states.ALIGNED_BINS))
    coarse = view.slots._replace(cell=view.slots.cell // 3)
    return view._replace(slots=coarse, shape=(*view.shape[:3], states.N_CELLS))


def _view(
    encoded: Encoded, borne: states.Bearing, name: str, group: Ints, topic: Ints, bins: Ints, size: tuple[int, int]
) -> View:
    keep = np.flatnonzero(borne.topic >= 0)
    order = keep[np.argsort(group[keep], kind="stable")]
    new = np.full(len(group), -1, dtype=np.int64)
    new[order] = np.arange(len(order))
    items = new[borne.owner] >= 0
    slots = Slots(
        group[order], encoded.teacher_T[borne.row[order]], topic[order], bins[order], borne.weight[order],
        new[borne.owner[items]], borne.cell[items], borne.share[items],
    )  # fmt: skip
    shape = (*size, len(encoded.vocabulary.teachers), 3 * states.N_CELLS)
    return View(name, slots, encoded.instance_T[borne.row[order]], shape)


def curve_rows(encoded: Encoded, view: View, result: step_constancy.Constancy, plan: tuple[int, int]) -> Rows:
    """G_t with patient-clustered bands, what density alone would make of it, and the density of each teacher."""
    patients, patient_I = np.unique(encoded.patient_I, return_inverse=True)
    patient = patient_I[view.instance]
    _, k, u, c = view.shape
    used = np.unique(view.slots.topic)
    packed = view.slots._replace(topic=np.searchsorted(used, view.slots.topic))
    shape = (max(len(used), 1), k, u, c)
    low, high = _bands(packed, patient, len(patients), shape, plan)
    density = np.bincount(view.slots.bin * u + view.slots.teacher, minlength=k * u).reshape(k, u) / np.maximum(
        np.bincount(encoded.teacher_T[encoded.generation_T == 0], minlength=u), 1
    )
    rows: Rows = []
    for t in range(k):
        inside = view.slots.bin == t
        n = {"n": int(inside.sum()), "n_patients": len(np.unique(patient[inside]))}
        band = {"value": float(result.curve[t]), "low": float(low[t]), "high": float(high[t])}
        rows.append({"view": view.name, "series": "divergence", "teacher": "all", "bin": t, **band, **n})
        rows.append(
            {"view": view.name, "series": "divergence if constant", "teacher": "all", "bin": t,
             "value": float(result.expected[t]), **n}
        )  # fmt: skip
        for code, teacher in enumerate(encoded.vocabulary.teachers):
            rows.append(
                {"view": view.name, "series": "assertion density", "teacher": teacher, "bin": t,
                 "value": float(density[t, code]), **n}
            )  # fmt: skip
    return rows


def _bands(
    slots: Slots, patient: Ints, n_patients: int, shape: tuple[int, ...], plan: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Lower and upper ends. Sums per patient would not fit at full size, so bins are done one by one.

    Topics weigh by their mass in all bins, as in the curve itself, so that mass is resampled beside each bin's cells.
    """
    d, k, u, c = shape
    of_item = slots.weight[slots.owner] * slots.share
    topic = patient[slots.owner] * d + slots.topic[slots.owner]
    topics = np.bincount(topic, weights=of_item, minlength=n_patients * d).reshape(n_patients, d)
    parts = []
    for t in range(k):
        items = slots.bin[slots.owner] == t
        place = slots.owner[items]
        flat = (slots.topic[place] * u + slots.teacher[place]) * c + slots.cell[items]
        cells, column = np.unique(flat, return_inverse=True)
        mass = slots.weight[place] * slots.share[items]
        sums = np.bincount(patient[place] * len(cells) + column, weights=mass, minlength=n_patients * len(cells))
        full = _curve_of(cells, (d, u, c))
        sums = np.concatenate([sums.reshape(n_patients, len(cells)), topics], axis=1)
        parts.append(resample.bootstrap(sums, full, draws=plan[0], seed=plan[1], method="normal"))
    low, high = ([np.atleast_1d(getattr(p, end)) for p in parts] for end in ("low", "high"))
    return np.concatenate(low), np.concatenate(high)


def _curve_of(cells: Ints, shape: tuple[int, int, int]) -> Any:
    def value(sums: Floats) -> Floats:
        dense = np.zeros((*sums.shape[:-1], int(np.prod(shape))))
        dense[..., cells] = sums[..., : len(cells)]
        each = jensen_shannon.from_counts(dense.reshape(*sums.shape[:-1], *shape))
        weight = np.where(np.isnan(each), 0.0, sums[..., len(cells) :])
        return divide((np.nan_to_num(each) * weight).sum(axis=-1), weight.sum(axis=-1))

    return value


def history_rows(encoded: Encoded, config: Config) -> Rows:
    """Accumulated and instantaneous divergence, history against increment, and total correlation, per bin."""
    k = config.bins
    past = states.history(encoded, k)
    keep = (encoded.generation_T == 0) & ~encoded.refusal_T
    weight = _study_weight(encoded, keep)
    n_u = len(encoded.vocabulary.teachers)
    rows: Rows = []
    correlation = total_correlation_curve(encoded, past, keep, config)
    n_studies = len(np.unique(encoded.study_I[encoded.instance_T[keep]]))
    n = {"n": n_studies, "n_patients": len(np.unique(encoded.patient_I[encoded.instance_T[keep]]))}
    for t in range(k):
        before = past.accumulated[..., t - 1] if t else np.full_like(past.new[..., 0], -1)
        joint = np.zeros((n_u, _LABELS, 4, 4))
        at = (np.broadcast_to(encoded.teacher_T[:, None], before.shape), np.arange(_LABELS)[None], before + 1,
              past.new[..., t] + 1)  # fmt: skip
        np.add.at(joint, tuple(np.broadcast_to(a, before.shape)[keep] for a in at), weight[keep][:, None])
        after = np.zeros((n_u, _LABELS, 4))
        now = (at[0], at[1], past.accumulated[..., t] + 1)
        np.add.at(after, tuple(np.broadcast_to(a, before.shape)[keep] for a in now), weight[keep][:, None])
        for series, table in (("accumulated divergence", after), ("instantaneous divergence", joint.sum(axis=2))):
            value = float(np.nansum(jensen_shannon.from_counts(np.moveaxis(table, 0, 1))))
            rows.append({"view": "plain", "series": series, "teacher": "all", "bin": t, "value": value, **n})
        chain = _mean_chain(joint + 0.5)
        for series, value in zip(("KL total", "KL history", "KL increment"), chain, strict=True):
            rows.append({"view": "plain", "series": series, "teacher": "all", "bin": t, "value": value, **n})
        for series, value in zip(
            ("total correlation", "total correlation if independent"), correlation[t], strict=True
        ):
            rows.append({"view": "plain", "series": series, "teacher": "all", "bin": t, "value": value, **n})
    return rows


def _study_weight(encoded: Encoded, keep: NDArray[np.bool_]) -> Floats:
    study = np.unique(encoded.study_I, return_inverse=True)[1][encoded.instance_T]
    group = study * len(encoded.vocabulary.teachers) + encoded.teacher_T
    size = np.bincount(group[keep], minlength=int(group.max(initial=-1)) + 1)
    weight: Floats = 1.0 / np.maximum(size[group], 1)
    return weight


def _mean_chain(joint_ULTZ: Floats) -> tuple[float, float, float]:
    """Mean over ordered pairs of teachers of the sum over labels of KL total, history and increment, in nats."""
    n_u = len(joint_ULTZ)
    if n_u < 2:
        return float("nan"), float("nan"), float("nan")
    chain = kl_chain.compute(joint_ULTZ[:, None], joint_ULTZ[None, :])
    pairs = n_u * (n_u - 1)
    total, history, increment = (float(part.sum()) / pairs for part in chain)
    return total, history, increment


def total_correlation_curve(encoded: Encoded, past: states.History, keep: NDArray[np.bool_], config: Config) -> Floats:
    """bins x (mean over labels of the total correlation of "asserted present so far", its mean under shuffles)."""
    n_u = len(encoded.vocabulary.teachers)
    present = np.zeros((encoded.n_instances, n_u, _LABELS, config.bins), dtype=bool)
    given = np.zeros((encoded.n_instances, n_u), dtype=bool)
    rows = np.flatnonzero(keep)
    present[encoded.instance_T[rows], encoded.teacher_T[rows]] = past.accumulated[rows] == 0
    given[encoded.instance_T[rows], encoded.teacher_T[rows]] = True
    whole = present[given.all(axis=1)]
    out = np.full((config.bins, 2), np.nan)
    if n_u < 2 or n_u > 16 or not len(whole):
        return out
    rng = np.random.default_rng(config.seed)
    draws = [_correlation(whole)]
    for _ in range(min(20, config.permutations)):
        draws.append(_correlation(np.stack([whole[rng.permutation(len(whole)), u] for u in range(n_u)], axis=1)))
    out[:, 0], out[:, 1] = draws[0], np.mean(draws[1:], axis=0)
    return out


def _correlation(present_IULK: NDArray[np.bool_]) -> Floats:
    """Plug-in total correlation in bits per bin, mean over labels; the joint state of teachers is one code."""
    n, n_u, n_l, n_k = present_IULK.shape
    code = np.zeros((n, n_l, n_k), dtype=np.int64)
    for u in range(n_u):
        code |= present_IULK[:, u].astype(np.int64) << u
    place = np.arange(n_l * n_k).reshape(n_l, n_k) << n_u
    joint = np.bincount((code + place).ravel(), minlength=(n_l * n_k) << n_u).reshape(n_l, n_k, -1) / n
    share = present_IULK.mean(axis=0)
    single = entropy_bits(np.stack([share, 1 - share], axis=-1)).sum(axis=0)
    mean: Floats = np.maximum(single - entropy_bits(joint), 0).mean(axis=0)
    return mean


def subsample(encoded: Encoded, n_studies: int, seed: int) -> NDArray[np.bool_]:
    """Instances of a seeded sample of whole patients with about `n_studies` studies."""
    order = np.random.default_rng(seed).permutation(np.unique(encoded.patient_I))
    pairs = np.unique(np.stack([encoded.patient_I, encoded.study_I], axis=1), axis=0)
    patients, sizes = np.unique(pairs[:, 0], return_counts=True)
    running = np.cumsum(sizes[np.searchsorted(patients, order)])
    keep = order[: int(np.searchsorted(running, n_studies, side="right"))] if len(order) else order
    return np.isin(encoded.patient_I, keep)


def constancy(view: View, config: Config) -> step_constancy.Constancy:
    """The restricted-permutation test of one view."""
    return step_constancy.compute(view.slots, view.shape, permutations=config.permutations, seed=config.seed)


def disagreement(
    encoded: Encoded, config: Config, made: disagreement_trend.Claims | None = None
) -> tuple[disagreement_trend.Trend, Rows]:
    """Trend of the disagreement about statements given their kind, and its curve: beginning, middle and end of a block.

    A bin's value is the mean excess over kind and text there, plus the mean of all; with it the interval over patients.
    """
    said = claims.of_encoded(encoded) if made is None else made
    trend = disagreement_trend.compute(said, permutations=config.permutations, draws=config.draws, seed=config.seed)
    found = disagreement_trend.terms(said)
    use = found.size > 1
    k = states.ALIGNED_BINS
    bins = np.minimum(((found.centre + 0.5) * k).astype(np.int64), k - 1)[use]
    weight, patient = said.weight[use], said.patient[use]
    n_patients = int(said.patient.max(initial=-1)) + 1
    level = float(divide((weight * said.disagreement[use]).sum(), weight.sum()))
    inside = (bins[:, None] == np.arange(k)) * weight[:, None]
    sums = resample.patient_sums(np.hstack([inside * found.excess[use, None], inside]), patient, n_patients)
    sums = sums[sums[:, k:].any(axis=1)]

    def value(of: Floats) -> Floats:
        return divide(of[..., :k], of[..., k:]) + level

    band = resample.bootstrap(sums, value, draws=config.draws, seed=config.seed)
    rows: Rows = []
    for t in range(k):
        n = {"n": int((bins == t).sum()), "n_patients": len(np.unique(patient[bins == t]))}
        at = {"view": KIND_ADJUSTED, "teacher": "all", "bin": t}
        ends = {"value": float(band.value[t]), "low": float(band.low[t]), "high": float(band.high[t])}
        rows.append({**at, "series": "disagreement", **ends, **n})
        rows.append({**at, "series": "disagreement if constant", "value": level, **n})
    return trend, rows
