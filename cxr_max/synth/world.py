"""The latent world: patients, studies, images and the state of every concept in every study, all from one seed.

Prevalences follow the label frequencies published for MIMIC-CXR's training split (positive, half of the uncertain);
co-occurrence comes from three latent factors (cardiac, infectious, intensive care), persistence over studies from an
autoregression, so that prevalence is the same at every study.
"""

from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_max.synth.concepts import BOTH, LEFT, NONE, RIGHT, ZONES, concepts, index
from cxr_max.synth.config import WorldConfig

Array = npt.NDArray[Any]

STUDIES_PER_SUBJECT = (0.40, 0.20, 0.14, 0.11, 0.08, 0.07)
SPLIT_SHARES = {"test": 0.12, "validate": 0.08}
PERSISTENCE = 0.8
"""Correlation of the latent variables of one patient between consecutive studies."""
STABLE_BAND = 0.18
"""A change of severity (0 to 1) below this counts as stable."""
IMAGE_DIFFICULTY = 0.5
"""Share of a finding's difficulty that it shares with the other findings of its image."""

# concept: share of studies, loadings on the cardiac, infectious and intensive-care factor
_LATENT: dict[str, tuple[float, float, float, float]] = {
    "atelectasis": (0.25, 0.25, 0.0, 0.60),
    "cardiomegaly": (0.2, 0.70, 0.0, 0.15),
    "consolidation": (0.06, 0.0, 0.65, 0.20),
    "edema": (0.165, 0.70, 0.0, 0.30),
    "enlarged_cardiomediastinum": (0.06, 0.40, 0.0, 0.25),
    "rib_fracture": (0.018, 0.0, 0.0, 0.20),
    "lung_nodule": (0.024, 0.0, 0.15, 0.0),
    "lung_mass": (0.009, 0.0, 0.15, 0.0),
    "lung_opacity": (0.245, 0.20, 0.65, 0.25),
    "pleural_effusion": (0.262, 0.55, 0.20, 0.45),
    "pleural_thickening": (0.011, 0.0, 0.10, 0.0),
    "pneumonia": (0.13, 0.10, 0.80, 0.0),
    "pneumothorax": (0.05, 0.0, 0.0, 0.45),
    "endotracheal_tube": (0.11, 0.20, 0.10, 0.80),
    "enteric_tube": (0.11, 0.15, 0.10, 0.80),
    "central_line": (0.19, 0.25, 0.10, 0.70),
    "pacemaker": (0.06, 0.45, 0.0, 0.0),
    "chest_tube": (0.02, 0.0, 0.0, 0.60),
}
# sign: (the finding it comes with, share with it, share without it)
_SIGNS: dict[str, tuple[str, float, float]] = {
    "costophrenic_blunting": ("pleural_effusion", 0.75, 0.015),
    "mediastinal_shift": ("pneumothorax", 0.15, 0.005),
    "air_bronchograms": ("consolidation", 0.50, 0.0),
    "septal_lines": ("edema", 0.40, 0.0),
    "volume_loss": ("atelectasis", 0.40, 0.005),
    "hemidiaphragm_elevation": ("atelectasis", 0.12, 0.01),
}


@dataclass(frozen=True)
class World:
    """Arrays over subjects [N], studies [S] (grouped by subject, in time order), images [M] and concepts [C].

    Attributes:
        subject_id: [N] ascending; split: [N] of train, validate, test; female: [N].
        study_subject: [S] position of the patient; study_id: [S] random, not in time order; order: [S] 0-based visit;
            date: [S] YYYYMMDD; time: [S] HHMMSS.fff; portable: [S]; difficulty: [S] standard normal, hard is positive.
        image_study: [M]; dicom_id: [M]; view: [M] true view; view_missing: [M] no ViewPosition in the tables;
            copy_of: [M] position of the image this one is a re-exposure of, or -1.
        present: [S, C]; side, zone: [S, C] codes of `concepts.py`; severity: [S, C] 0 to 1;
            level: [S, C] 1 to 3; change: [S, C] "" | new | worsening | stable | improving | resolved;
            hardness: [S, C] standard normal, shared by all teachers.
        flag: [S] what the report is made to be on purpose: "" | all_empty | unusable | change_only.
        instance: [I] positions of the images that the teachers are shown.
    """

    subject_id: Array
    split: Array
    female: Array
    study_subject: Array
    study_id: Array
    order: Array
    date: Array
    time: Array
    portable: Array
    difficulty: Array
    image_study: Array
    dicom_id: Array
    view: Array
    view_missing: Array
    copy_of: Array
    present: Array
    side: Array
    zone: Array
    severity: Array
    level: Array
    change: Array
    hardness: Array
    flag: Array
    instance: Array

    def part(self, first: int, last: int) -> "World":
        """Subjects `first` to `last` (not included) as a world of their own; positions are renumbered."""
        studies = np.searchsorted(self.study_subject, [first, last])
        images = np.searchsorted(self.image_study, studies)
        shown = np.searchsorted(self.instance, images)
        spans = {"subject": (first, last), "study": tuple(studies), "image": tuple(images), "instance": tuple(shown)}
        values = {f.name: getattr(self, f.name)[slice(*spans[_axis(f.name)])] for f in fields(self)}
        values["study_subject"] = values["study_subject"] - first
        values["image_study"] = values["image_study"] - studies[0]
        values["copy_of"] = np.where(values["copy_of"] < 0, -1, values["copy_of"] - images[0])
        values["instance"] = values["instance"] - images[0]
        return World(**values)


def _axis(name: str) -> str:
    if name in ("subject_id", "split", "female"):
        return "subject"
    if name in ("image_study", "dicom_id", "view", "view_missing", "copy_of"):
        return "image"
    return "instance" if name == "instance" else "study"


def make_world(config: WorldConfig) -> World:
    """Draw the latent world of a validated configuration.

    With `instances`, patients are added until their images reach the number; the last patient's images beyond it stay
    in the tables but are not shown to the teachers.
    """
    n = config.subjects or max(4, (config.instances or 0) // 2 + 8)
    while True:
        world = _draw(n, config.seed)
        if config.instances is None:
            return world
        if len(world.instance) >= config.instances:
            last = world.study_subject[world.image_study[world.instance[config.instances - 1]]]
            world = world.part(0, int(last) + 1)
            return World(**{**world.__dict__, "instance": world.instance[: config.instances]})
        n *= 2


def _draw(n: int, seed: int) -> World:
    people, visits, views, states = (np.random.default_rng([seed, k]) for k in range(4))
    split = _splits(n, people)
    counts = people.choice(len(STUDIES_PER_SUBJECT), n, p=STUDIES_PER_SUBJECT) + 1
    # MIMIC-CXR's test patients have about three times as many studies as the others.
    again = people.choice(len(STUDIES_PER_SUBJECT), n, p=STUDIES_PER_SUBJECT) + 1
    counts = np.where(split == "test", np.maximum(counts, again), counts)
    subject = np.repeat(np.arange(n), counts)
    order = np.arange(len(subject)) - np.repeat(np.cumsum(counts) - counts, counts)
    date, time = _dates(counts, visits)
    images = _images(len(subject), views)
    shown = _shown(images["image_study"], images["view"])
    state = draw_states(subject, order, states)
    return World(
        subject_id=np.sort(people.choice(10_000_000, n, replace=False) + 10_000_000),
        split=split,
        female=people.random(n) < 0.5,
        study_subject=subject,
        study_id=visits.choice(10_000_000, len(subject), replace=False) + 50_000_000,
        order=order,
        date=date,
        time=time,
        flag=_flags(state["present"], order, states),
        instance=shown,
        **images,
        **state,
    )


def _splits(n: int, rng: np.random.Generator) -> Array:
    split = np.full(n, "train", dtype="<U8")
    order, at = rng.permutation(n), 0
    for name, share in SPLIT_SHARES.items():
        k = max(1, round(share * n)) if n >= 3 else 0
        split[order[at : at + k]] = name
        at += k
    return split


def _dates(counts: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Dates shifted into 2110 to 2190, one shift per patient; days between visits are exponential."""
    start = np.repeat(rng.integers(0, 365 * 80, len(counts)), counts)
    gaps = np.ceil(rng.exponential(60.0, len(start)))
    first = np.cumsum(counts) - counts
    total = np.cumsum(gaps)
    day = start + total - np.repeat(total[first], counts)
    date = (np.datetime64("2110-01-01") + day.astype("timedelta64[D]")).astype("datetime64[D]")
    text = np.char.replace(date.astype(str), "-", "").astype(np.int64)
    seconds, millis = rng.integers(0, 86_400, len(start)), rng.integers(0, 1000, len(start))
    clock = (seconds // 3600) * 10_000 + (seconds // 60 % 60) * 100 + seconds % 60
    return text, clock + millis / 1000.0


def _quota(rng: np.random.Generator, n: int, share: float) -> Array:
    """A mask with the rounded share of ones, and at least one when there are 20 places or more."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.permutation(n)[: max(int(n >= 20), round(share * n))]] = True
    return mask


def _images(n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Views of every study: single portable, frontal with lateral, lateral only, re-exposures, missing positions."""
    lateral_only = _quota(rng, n, 0.03)
    copied = _quota(rng, n, 0.04) & ~lateral_only
    portable = (rng.random(n) < 0.62) & ~lateral_only
    with_lateral = ~portable & (rng.random(n) < 0.88)
    second = portable & (rng.random(n) < 0.05)
    rows: list[tuple[int, str, int]] = []
    for s in range(n):
        frontal = "AP" if portable[s] else "PA"
        views = [] if lateral_only[s] else [frontal] * (1 + int(second[s]))
        if with_lateral[s] or lateral_only[s]:
            views.append("LL" if rng.random() < 0.3 else "LATERAL")
        first = len(rows)
        rows += [(s, v, -1) for v in views]
        if copied[s]:
            rows.append((s, views[0], first))
    study, view, copy_of = (np.array(x) for x in zip(*rows, strict=True))
    words = rng.integers(0, 2**32, (len(study), 5))
    return {
        "portable": portable,
        "image_study": study,
        "view": view.astype("<U8"),
        "copy_of": copy_of,
        "view_missing": _quota(rng, len(study), 0.04),
        "dicom_id": np.array(["-".join(f"{w:08x}" for w in row) for row in words]),
    }


def _shown(image_study: Array, view: Array) -> Array:
    """Every frontal image, and the lateral ones of studies without a frontal image."""
    frontal = np.isin(view, ["AP", "PA"])
    has_frontal = np.zeros(image_study.max() + 1, dtype=bool)
    has_frontal[image_study[frontal]] = True
    return np.flatnonzero(frontal | ~has_frontal[image_study])


def draw_states(subject: Array, order: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Presence, side, zone, severity and change of every concept in studies grouped by subject, in time order."""
    n, c = len(subject), len(concepts())
    score = np.full((n, c), -9.0)
    share = np.zeros(c)
    columns = np.array([index()[k] for k in _LATENT])
    loading = np.array([v[1:] for v in _LATENT.values()])
    factors = _persistent(rng, order, 3)
    own = _persistent(rng, order, len(columns))
    score[:, columns] = factors @ loading.T + own * np.sqrt(1.0 - (loading**2).sum(1))
    share[columns] = [v[0] for v in _LATENT.values()]
    cut = np.array([NormalDist().inv_cdf(1.0 - p) if p > 0 else 9.0 for p in share])
    present = score > cut
    # Severity is the rank of the score among those above the cut, so it is uniform on 0 to 1.
    severity = np.where(present, 1.0 - (1.0 - normal_cdf(score)) / np.maximum(share, 1e-9), 0.0)
    side, zone = _places(subject, rng)
    _add_signs((present, severity, side), order, rng)
    present[:, index()["no_finding"]] = ~present[:, _abnormal()].any(1)
    side[:, index()["no_finding"]] = NONE
    change = _changes(present, severity, order)
    return {
        "present": present,
        "side": np.where(present, side, NONE).astype(np.int8),
        "zone": np.where(present, zone, -1).astype(np.int8),
        "severity": severity,
        "level": 1 + (severity > 0.5).astype(np.int8) + (severity > 0.85).astype(np.int8),
        "change": change,
        "difficulty": rng.standard_normal(n),
        "hardness": rng.standard_normal((n, c)),
    }


def normal_cdf(x: Array) -> Array:
    """Distribution function of the standard normal, interpolated to 1e-6."""
    grid = np.linspace(-9.0, 9.0, 4001)
    out: Array = np.interp(x, grid, np.array([NormalDist().cdf(g) for g in grid]))
    return out


def _abnormal() -> Array:
    """Positions of all concepts that keep a study from being normal: everything but support devices."""
    return np.array([i for i, c in enumerate(concepts()) if c.label not in ("Support Devices", "No Finding")])


def _persistent(rng: np.random.Generator, order: Array, k: int) -> Array:
    """[S, k] standard normal variables, autoregressive over each patient's visits."""
    noise = rng.standard_normal((len(order), k))
    out = noise.copy()
    for visit in range(1, int(order.max(initial=0)) + 1):
        rows = np.flatnonzero(order == visit)
        out[rows] = PERSISTENCE * out[rows - 1] + np.sqrt(1.0 - PERSISTENCE**2) * noise[rows]
    return out


def _places(subject: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Side and zone of every concept, one per patient: a finding that stays is on the side where it was."""
    n = int(subject.max(initial=-1)) + 1
    side = np.zeros((n, len(concepts())), dtype=np.int8)
    zone = np.full((n, len(concepts())), -1, dtype=np.int8)
    for i, concept in enumerate(concepts()):
        side[:, i] = rng.choice([LEFT, RIGHT, BOTH, NONE], n, p=concept.sides)
        if concept.zones:
            codes = [ZONES.index(z) for z in concept.zones]
            zone[:, i] = rng.choice(codes, n, p=list(concept.zones.values()))
    # One process seen as two findings lies in one place; a chest tube lies where the air is.
    at = index()
    for follower, leader in (("pneumonia", "consolidation"), ("air_bronchograms", "consolidation")):
        side[:, at[follower]], zone[:, at[follower]] = side[:, at[leader]], zone[:, at[leader]]
    side[:, at["chest_tube"]] = side[:, at["pneumothorax"]]
    return side[subject], zone[subject]


def _add_signs(state: tuple[Array, Array, Array], order: Array, rng: np.random.Generator) -> None:
    (present, severity, side), at = state, index()
    tubes = present[:, at["pneumothorax"]] & (rng.random(len(order)) < 0.45)
    present[:, at["chest_tube"]] |= tubes
    severity[:, at["chest_tube"]] = np.where(present[:, at["chest_tube"]], 0.5, 0.0)
    for sign, (parent, with_it, without) in _SIGNS.items():
        i, j = at[sign], at[parent]
        chance = np.where(present[:, j], with_it, without)
        present[:, i] = _persistent_uniform(rng, order) < chance
        severity[:, i] = np.where(present[:, i], np.maximum(severity[:, j], 0.2), 0.0)
        if any(concepts()[i].sides[:3]):
            single = concepts()[i].sides[2] == 0.0
            usable = present[:, j] & ~(single & np.isin(side[:, j], [BOTH, NONE]))
            side[:, i] = np.where(usable, side[:, j], side[:, i])


def _persistent_uniform(rng: np.random.Generator, order: Array) -> Array:
    return normal_cdf(_persistent(rng, order, 1)[:, 0])


def _changes(present: Array, severity: Array, order: Array) -> Array:
    change = np.full(present.shape, "", dtype="<U9")
    rows = np.flatnonzero(order > 0)
    now, before = present[rows], present[rows - 1]
    delta = severity[rows] - severity[rows - 1]
    kind = np.where(delta > STABLE_BAND, "worsening", np.where(delta < -STABLE_BAND, "improving", "stable"))
    kind = np.where(now & ~before, "new", np.where(before & ~now, "resolved", np.where(now & before, kind, "")))
    change[rows] = kind
    return change


def _flags(present: Array, order: Array, rng: np.random.Generator) -> Array:
    """Reports that are peculiar on purpose, each kind at least once in worlds of some size."""
    flag = np.full(len(present), "", dtype="<U11")
    normal = np.flatnonzero(present[:, index()["no_finding"]])
    later = np.flatnonzero(order > 0)
    for kind, pool, share in (("all_empty", normal, 0.03), ("change_only", later, 0.01)):
        flag[pool[_quota(rng, len(pool), share)]] = kind
    flag[_quota(rng, len(present), 0.001)] = "unusable"
    return flag
