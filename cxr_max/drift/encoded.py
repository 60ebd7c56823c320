"""A release as compact arrays: what every statistic of the report is computed on.

Full size (170,982 trajectories, some million findings) is about 150 MB. Arrays are named by dimension: I instances,
T trajectories, F findings of trajectories, S steps, R findings of references, L the 14 labels, K concepts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.errors import DataError
from cxr_max.schema import FINDINGS, SIDES, STATUSES

PRESENT, UNCERTAIN, ABSENT = range(3)
"""Codes of a status, in the order of `schema.STATUSES`."""
NO_SIDE, LEFT, RIGHT = range(3)
DEVICES = FINDINGS.index("Support Devices")
NO_FINDING = FINDINGS.index("No Finding")
OTHER_TOPIC = len(FINDINGS)
"""Topic of a step under no heading that names a prompted diagnosis."""
SUMMARY_TOPIC = OTHER_TOPIC + 1
"""Topic of a step under a heading such as "Conclusion"; it repeats what was said and keeps its place."""

Ints = NDArray[np.int64]
Small = NDArray[np.int16]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Vocabulary:
    """Names behind the codes.

    Attributes:
        concepts: ids of the lexicon, and any other that occurs.
        label_K: position in `FINDINGS` of each concept's label, -1 without one.
        parent_K: position of each concept's parent, -1 without one.
        zones: names of zones; code 0 is "no zone", code z is zones[z - 1].
        teachers: ids of the teachers.
    """

    concepts: tuple[str, ...]
    label_K: tuple[int, ...]
    parent_K: tuple[int, ...]
    zones: tuple[str, ...]
    teachers: tuple[str, ...]


class Findings(NamedTuple):
    """Findings as parallel arrays: owner row, step (-1 unknown), concept, status, side and zone codes."""

    row: Ints
    step: Small
    concept: Small
    status: Small
    side: Small
    zone: Small


class Steps(NamedTuple):
    """Steps as parallel arrays: trajectory, index, generic, topic (label of the section or OTHER_TOPIC)."""

    row: Ints
    step: Small
    generic: Booleans
    topic: Small


@dataclass(frozen=True)
class Encoded:
    """One release, or one shard of it.

    Attributes:
        vocabulary: names behind the codes.
        instance_id: I ids.
        patient_I: subject ids.
        study_I: study ids.
        split_I: split names.
        view_I: view names, "" when unknown.
        prompted_IL: label named by the prompt.
        prompted_IK: concept named by the prompt (what the echo baseline repeats).
        n_diseases_I: diseases the prompt names.
        diseases_I: the sorted diseases as one string, for matching.
        sections_I2: whether the reference has FINDINGS and IMPRESSION.
        instance_T: row of the instance.
        teacher_T: code of the teacher.
        generation_T: generation.
        words_T: words.
        steps_T: steps.
        refusal_T: no image-specific assertion, as the extractor or the release marks it.
        findings: findings of the trajectories, in text order.
        steps: steps of the trajectories.
        reference: findings of the two reference sections, `row` = instance.
        similarity_T: name -> similarity of trajectory and reference, NaN without one.
        shard: number of this shard.
    """

    vocabulary: Vocabulary
    instance_id: NDArray[Any]
    patient_I: Ints
    study_I: Ints
    split_I: NDArray[Any]
    view_I: NDArray[Any]
    prompted_IL: Booleans
    prompted_IK: Booleans
    n_diseases_I: Ints
    diseases_I: NDArray[Any]
    sections_I2: Booleans
    instance_T: Ints
    teacher_T: Ints
    generation_T: Ints
    words_T: Ints
    steps_T: Ints
    refusal_T: Booleans
    findings: Findings
    steps: Steps
    reference: tuple[Findings, Findings]
    similarity_T: Mapping[str, NDArray[np.float64]]
    shard: int = 0

    @property
    def has_reference_I(self) -> Booleans:
        """Instances whose report has findings or an impression."""
        return np.asarray(self.sections_I2.any(axis=1))

    @property
    def n_instances(self) -> int:
        """Number of instances."""
        return len(self.instance_id)

    @property
    def n_trajectories(self) -> int:
        """Number of trajectories."""
        return len(self.instance_T)


NAMES = ("instance_id", "split_I", "view_I", "diseases_I")
"""Arrays of text; kept as objects in memory, where few names occur often."""


def to_arrays(encoded: Encoded) -> dict[str, NDArray[Any]]:
    """The same as named arrays without objects, for a file."""
    out: dict[str, NDArray[Any]] = {"vocabulary": np.array(json.dumps(asdict(encoded.vocabulary)))}
    for f in fields(Encoded):
        value = getattr(encoded, f.name)
        if f.name in NAMES:
            out[f.name] = value.astype(str)
        elif f.name in ("findings", "steps"):
            out.update({f"{f.name}.{k}": column for k, column in value._asdict().items()})
        elif f.name == "reference":
            out.update({f"reference.{s}.{k}": c for s, part in enumerate(value) for k, c in part._asdict().items()})
        elif f.name == "similarity_T":
            out.update({f"similarity_T.{k}": column for k, column in value.items()})
        elif f.name != "vocabulary":
            out[f.name] = np.asarray(value)
    return out


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Encoded:
    """The inverse of `to_arrays`."""

    def under(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    named = json.loads(str(arrays["vocabulary"]))
    whole: dict[str, Any] = {
        k: v.astype(object) if k in NAMES else v for k, v in arrays.items() if "." not in k and k != "vocabulary"
    }
    return Encoded(
        **{**whole, "shard": int(arrays["shard"])},
        vocabulary=Vocabulary(**{k: tuple(v) for k, v in named.items()}),
        findings=Findings(**under("findings.")),
        steps=Steps(**under("steps.")),
        reference=(Findings(**under("reference.0.")), Findings(**under("reference.1."))),
        similarity_T=under("similarity_T."),
    )


def merge(parts: Sequence[Encoded]) -> Encoded:
    """Put shards together again; the result equals the whole encoded at once.

    Raises:
        DataError: no part, or parts with different vocabularies.
    """
    if not parts:
        raise DataError("nothing to merge")
    ordered = sorted(parts, key=lambda p: p.shard)
    if any(p.vocabulary != ordered[0].vocabulary for p in ordered):
        raise DataError(
            "the parts were encoded with different vocabularies", next="encode all parts from one release and teachers"
        )
    first_i = np.cumsum([0, *(p.n_instances for p in ordered)])
    first_t = np.cumsum([0, *(p.n_trajectories for p in ordered)])
    joined: dict[str, Any] = {}
    for f in fields(Encoded):
        values = [getattr(p, f.name) for p in ordered]
        if f.name == "reference":
            joined[f.name] = tuple(_stack([v[s] for v in values], first_i) for s in (0, 1))
        elif f.name in ("findings", "steps"):
            joined[f.name] = _stack(values, first_t)
        elif f.name == "similarity_T":
            joined[f.name] = {k: np.concatenate([v[k] for v in values]) for k in values[0]}
        elif f.name == "instance_T":
            joined[f.name] = np.concatenate([v + first_i[i] for i, v in enumerate(values)])
        elif f.name not in ("vocabulary", "shard"):
            joined[f.name] = np.concatenate(values)
    return Encoded(vocabulary=ordered[0].vocabulary, **joined)


def _stack(values: Sequence[Any], offsets: Any) -> Any:
    moved = [v._replace(row=v.row + offsets[i]) for i, v in enumerate(values)]
    return type(moved[0])(*(np.concatenate(c) for c in zip(*moved, strict=True)))


def subset(encoded: Encoded, keep_I: Booleans) -> Encoded:
    """Only some instances, with their trajectories, findings and steps."""
    keep_T = keep_I[encoded.instance_T]
    new_i, new_t = np.cumsum(keep_I) - 1, np.cumsum(keep_T) - 1
    changed: dict[str, Any] = {}
    for f in fields(Encoded):
        value = getattr(encoded, f.name)
        if f.name == "reference":
            changed[f.name] = tuple(_filter(part, keep_I, new_i) for part in value)
        elif f.name in ("findings", "steps"):
            changed[f.name] = _filter(value, keep_T, new_t)
        elif f.name == "similarity_T":
            changed[f.name] = {k: v[keep_T] for k, v in value.items()}
        elif f.name == "instance_T":
            changed[f.name] = new_i[value[keep_T]]
        elif f.name.endswith("_T"):
            changed[f.name] = value[keep_T]
        elif f.name not in ("vocabulary", "shard"):
            changed[f.name] = value[keep_I]
    return replace(encoded, **changed)


def _filter(part: Any, keep: Booleans, new: Ints) -> Any:
    rows = keep[part.row]
    return type(part)(new[part.row[rows]], *(column[rows] for column in part[1:]))


def label_states(found: Findings, n_rows: int, vocabulary: Vocabulary, refusal: Booleans | None = None) -> Small:
    """State of each label per row: -1 not mentioned, else a status code; rows x 14.

    Findings of one label are put together by CheXpert's precedence: absent with uncertain is uncertain, else present
    before uncertain before absent. No Finding is present when no other label but Support Devices is present or
    uncertain, and not mentioned in a refusal.
    """
    label = np.asarray(vocabulary.label_K, dtype=np.int64)[found.concept]
    has = label >= 0
    seen = np.zeros((n_rows, len(FINDINGS), len(STATUSES)), dtype=bool)
    seen[found.row[has], label[has], found.status[has]] = True
    states = precedence(seen)
    sick = np.isin(states, (PRESENT, UNCERTAIN))
    sick[:, [DEVICES, NO_FINDING]] = False
    none = ~sick.any(axis=1)
    if refusal is not None:
        none &= ~refusal
    states[:, NO_FINDING] = np.where(none, PRESENT, -1)
    return states


def precedence(seen: Booleans) -> Small:
    """One status code (-1 none) from which statuses were seen on the last axis, by CheXpert's order."""
    present, uncertain, absent = (seen[..., s] for s in (PRESENT, UNCERTAIN, ABSENT))
    chosen = np.full(present.shape, -1, dtype=np.int16)
    chosen[absent] = ABSENT
    chosen[uncertain] = UNCERTAIN
    chosen[present] = PRESENT
    chosen[uncertain & absent] = UNCERTAIN
    return chosen


def side_code(name: str | None) -> int:
    """Code of a side."""
    return NO_SIDE if name is None else 1 + SIDES.index(name)
