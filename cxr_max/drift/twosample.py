"""Two-sample statistics between teachers: energy distance, MMD and C2ST on raw text and content, C2ST on format.

On a seeded subsample of whole patients. One global test per view of the text comes first (all teachers, MMD by random
features, teachers permuted within patients); pairs are tested only where it rejects. Only `content` may be called
drift of the reasoning, and only as far as its C2ST exceeds that of `format`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import along, between, lexical, permute, sources, textforms
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.extra import Extra
from cxr_max.drift.stats import c2st, energy_distance, mmd
from cxr_max.schema import Scannable

Floats = NDArray[np.float64]
ALPHA = 0.05
VIEWS = ("raw", "content", "format")


class Sample(NamedTuple):
    """Texts of studies that every teacher answered: studies x teachers, and the patient of each study."""

    texts: list[list[str]]
    patient: NDArray[np.int64]


def draw(data: Scannable, encoded: Encoded, config: Config) -> Sample:
    """One instance of each study of the subsample, generation 0, where every teacher answered."""
    chosen = along.subsample(encoded, config.embedding_n, config.seed)
    where = np.full((encoded.n_instances, len(encoded.vocabulary.teachers)), -1, dtype=np.int64)
    rows = np.flatnonzero(encoded.generation_T == 0)
    where[encoded.instance_T[rows], encoded.teacher_T[rows]] = rows
    usable = np.flatnonzero(chosen & (where >= 0).all(axis=1))
    first = usable[np.unique(encoded.study_I[usable], return_index=True)[1]]
    wanted = set(where[first].ravel().tolist())
    frames = sources.read_frames(data, config)
    keep = frames.trajectories.filter(frames.trajectories["t"].is_in(list(wanted)))["t"]
    found = {t: text for ts, written in sources.texts(data, frames, keep) for t, text in zip(ts, written, strict=True)}
    return Sample([[found[t] for t in row] for row in where[first].tolist()], encoded.patient_I[first])


def compute(data: Scannable, encoded: Encoded, config: Config) -> Extra:
    """Rows of pairs and tests; empty with one teacher, `embedding_n` 0 or fewer than ten studies."""
    teachers = encoded.vocabulary.teachers
    if config.embedding_n == 0 or len(teachers) < 2 or not encoded.n_trajectories:
        return Extra()
    sample = draw(data, encoded, config)
    if len(sample.texts) < 10:
        note = f"two-sample statistics left out: {len(sample.texts)} studies that every teacher answered"
        return Extra(notes=(note,))
    pairs: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for view in VIEWS:
        features = view_features(sample, view, config)
        p = global_p(features, sample.patient, config)
        n = {"n": len(sample.texts), "n_patients": len(np.unique(sample.patient))}
        tests.append(
            {"family": "two-sample, any teacher", "test": f"any teacher differs: {view}", "metric": "mmd",
             "view": view, "statistic": p[0], "effect": p[0], "p": p[1], "note": "", **n}
        )  # fmt: skip
        for j, (u, w) in enumerate(between.pairs(len(teachers))):
            seed = config.seed + 1000 + j
            for row in pair_rows(features[:, u], features[:, w], sample.patient, view, (config.permutations, seed)):
                name = {"teacher_a": teachers[u], "teacher_b": teachers[w], "metric": row["metric"]}
                pairs.append({**name, "text": view, "value": row["statistic"], "n_undefined": 0, **n})
                rejected = p[1] <= ALPHA
                tests.append(
                    {**name, **row, **n, "family": f"two-sample: {row['metric']} on {view}", "view": view,
                     "test": f"{row['metric']} differs", "p": row["p"] if rejected else float("nan"),
                     "note": "" if rejected else "not tested: the global test did not reject"}
                )  # fmt: skip
    about = {"two_sample": {"studies": len(sample.texts), "embedding": _embedding(config), "views": list(VIEWS)}}
    return Extra(pairs=pairs, tests=tests, about=about)


def _embedding(config: Config) -> str:
    return "tfidf, truncated SVD" if config.similarity == "tfidf" else config.similarity


def view_features(sample: Sample, view: str, config: Config) -> Floats:
    """studies x teachers x features of one view."""
    texts = textforms.content(sample.texts, config.seed) if view == "content" else sample.texts
    flat = [t for study in texts for t in study]
    if view == "format":
        made = textforms.format_features(flat)
        spread = made.std(axis=0)
        made = (made - made.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    elif config.similarity == "tfidf":
        made = textforms.embed(flat, config.seed)
    else:
        encoder = lexical.Encoder(config.similarity.partition(":")[2] or lexical.DEFAULT_ENCODER)
        made = encoder.vectors(flat)
    return np.asarray(made.reshape(len(texts), len(texts[0]), -1))


def global_p(features_NUF: Floats, patient_N: NDArray[np.int64], config: Config) -> tuple[float, float]:
    """Spread of the teachers' mean random features, and its p-value under permutation of teachers within patients."""
    n, n_u, _ = features_NUF.shape
    flat = features_NUF.reshape(n * n_u, -1)
    phi = mmd.random_features(flat, scale=mmd.median_distance(flat), n_features=256, seed=config.seed)
    _, code = np.unique(patient_N, return_inverse=True)
    sums = np.zeros((int(code.max()) + 1, n_u, phi.shape[1]))
    np.add.at(sums, code, phi.reshape(n, n_u, -1))

    def spread(order: NDArray[np.int64] | None) -> float:
        moved = sums if order is None else np.take_along_axis(sums, order[..., None], axis=1)
        return float(np.var(moved.sum(axis=0) / n, axis=0).sum())

    rng = np.random.default_rng(config.seed)
    base = np.broadcast_to(np.arange(n_u), sums.shape[:2])
    null = [spread(rng.permuted(base, axis=1)) for _ in range(config.permutations)]
    observed = spread(None)
    return observed, permute.p_value(observed, null)


def pair_rows(
    x: Floats, y: Floats, patient: NDArray[np.int64], view: str, plan: tuple[int, int]
) -> list[dict[str, Any]]:
    """Statistic, p and smallest detectable value of energy distance, MMD and C2ST of one pair (C2ST only on format)."""
    swaps = permute.cluster_signs(patient, draws=plan[0], seed=plan[1])
    found: dict[str, tuple[float, Floats]] = {}
    if view != "format":
        energy = energy_distance.paired(x, y, swaps.signs_NB)
        scale = mmd.median_distance(np.concatenate([x, y]))
        phi = [mmd.random_features(z, scale=scale, seed=plan[1]) for z in (x, y)]
        kernel = mmd.paired(phi[0], phi[1], swaps.signs_NB)
        found = {"energy_distance": (energy.observed, energy.swapped), "mmd": (kernel.observed, kernel.swapped)}
    told = c2st.compute(x, y, patient, signs_NB=swaps.signs_NB, seed=plan[1])
    found["c2st_auc"] = (told.auc, told.swapped)
    rows = []
    for metric, (statistic, null) in found.items():
        spread = null[~np.isnan(null)]
        detectable = float(np.quantile(spread, 1 - ALPHA) + 0.8416 * spread.std()) if len(spread) > 1 else float("nan")
        effect = statistic - 0.5 if metric == "c2st_auc" else statistic
        p = permute.p_value(statistic, null, exact=swaps.exact)
        rows.append(
            {"metric": metric, "statistic": statistic, "effect": effect, "p": p, "smallest_detectable": detectable}
        )
    return rows
