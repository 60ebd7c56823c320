"""One raw record -> one or more rows with an identity, a teacher and a text; or the reason why not."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cxr_max import prompts
from cxr_max.data import identity
from cxr_max.data.readers import SUFFIXES
from cxr_max.data.shapes import Mapped, Reading
from cxr_max.errors import UnknownNameError
from cxr_max.schema import SPLIT_ALIASES, SPLITS
from cxr_max.teachers import find_teacher, fold

MAX_CHARACTERS = 1_000_000
MAX_WORDS = 32_767
"""Steps and findings are counted in 16 bits; a bilateral finding counts twice."""

REASONS: dict[str, str] = {
    "broken_record": "the line or element is no readable record",
    "invalid_encoding": "the bytes are not UTF-8, or a text holds lone surrogates",
    "over_long": f"more than {MAX_CHARACTERS:,} characters, {MAX_WORDS:,} words or steps, or a record of 64 MiB",
    "no_text": "no trajectory, or an empty one",
    "no_teacher": "no teacher is named in the row or by the file",
    "no_prompt": "neither prompt nor diseases are given",
    "unknown_id": "no DICOM id, study or image path of a known form",
    "no_study": "subject and study are not known; pass --mimic-root so that they can be looked up",
    "no_split": "the split is not known; pass --mimic-root, or map a field or a constant to split",
    "unknown_split": f"the split is none of {', '.join(SPLITS)}",
    "unknown_generation": "the generation is neither a number nor a short text",
    "not_in_mimic": "the id is not in the MIMIC tables of --mimic-root",
    "contradicts_mimic": "subject, study or split differ from the MIMIC tables of --mimic-root",
    "contradicts_instance": "subject, study, split or images differ from the instance's other rows",
    "contradicts_patient": "the patient's other rows are in another split",
    "duplicate": "a second text for the same instance and teacher; --repeated or a `generation` field allows several",
    "too_many_generations": "more than 256 texts for the same instance and teacher",
    "unmatched_rejected": "the rejected response of a pair is no trajectory of the instance, and no teacher is named",
}
"""Every reason for which a row can be rejected."""


class Row(NamedTuple):
    """One trajectory as read. A row with `chosen` is a preference pair whose rejected answer is the trajectory."""

    instance_id: str
    unit: str
    dicom_ids: list[str]
    subject_id: int | None
    study_id: int | None
    split: str | None
    view: str | None
    teacher: str
    teacher_model: str | None
    teacher_snapshot: str | None
    decoding: dict[str, float | int | None] | None
    prompt: str
    trajectory: str
    n_words: int
    text_sha256: str
    generation: str | None
    chosen: str | None
    strategy: str | None


class Rejected(Exception):
    """A row is left out; `reason` is a key of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Normaliser:
    """Turns the records of one file into rows.

    Attributes:
        unknown: spellings of teachers that are not known (never more than 50).
        synthetic: how many records said whether they are synthetic, by what they said.
        seeds: seeds that synthetic records name.
    """

    def __init__(self, mapped: Mapped, path: Path, *, allow_new: bool) -> None:
        self._mapped, self._allow_new = mapped, allow_new
        self._from_name = _teacher_of_file(path)
        self._teachers: dict[str, str | None] = {}
        self.unknown: set[str] = set()
        self.synthetic: dict[bool, int] = {True: 0, False: 0}
        self.seeds: set[int] = set()

    @property
    def teacher_of_file(self) -> str | None:
        """The teacher the file's or folder's name means, if any."""
        return self._from_name

    def rows(self, record: Mapping[str, Any], reading: Reading) -> Iterator[Row | str]:
        """The rows of one record; in place of a row that is left out, the reason (a key of `REASONS`)."""
        values = {name: get(record) for name, get in reading.getters.items()}
        synthetic = values.get("synthetic") is True
        self.synthetic[synthetic] += 1
        if synthetic and isinstance(values.get("seed"), int):
            self.seeds.add(values["seed"])
        texts = [(values.get("teacher"), values.get("trajectory"))]
        if reading.teachers:
            texts = [(teacher, record.get(key)) for key, teacher in reading.teachers]
        for spelling, text in texts:
            try:
                yield self._row(values, spelling, text)
            except Rejected as e:
                yield e.reason

    def _row(self, values: Mapping[str, Any], spelling: Any, text: Any) -> Row:
        chosen = None
        ids = _identity(values)
        if _given(values.get("rejected")):
            # A preference pair: what it prefers is no teacher's text, what it rejects is.
            chosen, text = _text(text), values["rejected"]
        text = _text(text)
        teacher = self._teacher(spelling, needed=chosen is None)
        spelled = values.get("teacher_model")
        return Row(
            ids.instance_id,
            ids.unit,
            ids.dicom_ids,
            ids.subject_id,
            ids.study_id,
            _split(values.get("split")),
            _short(values.get("view")),
            teacher,
            _short(spelled) or _short(spelling),
            _short(values.get("teacher_snapshot")),
            _decoding(values),
            _prompt(values),
            text,
            _words(text),
            hashlib.sha256(text.encode()).hexdigest(),
            _generation(values.get("generation")),
            chosen,
            _short(values.get("strategy")),
        )

    def _teacher(self, spelling: Any, *, needed: bool) -> str:
        if not _given(spelling):
            if self._from_name is None and needed:
                raise Rejected("no_teacher")
            return self._from_name or ""
        name = str(spelling)
        if name not in self._teachers:
            self._teachers[name] = self._resolve(name)
        found = self._teachers[name]
        if found is None:
            raise Rejected("no_teacher")
        return found

    def _resolve(self, name: str) -> str | None:
        name = self._mapped.teachers.get(name, name)
        known = find_teacher(name)
        if known is not None:
            return known.id
        if self._allow_new and fold(name) and len(name) <= 60:
            return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-")
        if len(self.unknown) < 50:
            # A mis-mapped field may hold text; that is never shown.
            self.unknown.add(name if len(name) <= 40 and "\n" not in name else "(a long text)")
        return None


def unknown_teachers(names: set[str], known: tuple[str, ...]) -> UnknownNameError:
    """The error for teachers that are not known."""
    return UnknownNameError.of(
        "teacher",
        ", ".join(sorted(names)[:10]),
        known,
        next="map the spelling in [teachers] of --map, or pass --allow-new-teachers",
    )


class _Ids(NamedTuple):
    instance_id: str
    unit: str
    dicom_ids: list[str]
    subject_id: int | None
    study_id: int | None


_IDENTIFYING = ("image", "dicom_id", "id", "study_id", "subject_id")


def _identity(values: Mapping[str, Any]) -> _Ids:
    named = tuple(values.get(n) for n in _IDENTIFYING)
    # Every image comes once per teacher.
    return _identified(*named) if all(isinstance(v, str | int | None) for v in named) else _identify(*named)


def _identify(image: Any, dicom: Any, own: Any, study_id: Any, subject_id: Any) -> _Ids:
    named = [identity.from_path(p) for p in _paths(image)]
    dicoms = [d for v in _paths(dicom) if (d := identity.dicom_id(v))]
    if not dicoms:
        dicoms = [n.dicom_id for n in named if n.dicom_id]
    from_id = identity.from_path(own) if isinstance(own, str) and len(own) < 1000 else identity.NOTHING
    if not dicoms and from_id.dicom_id:
        dicoms = [from_id.dicom_id]
    studies = {n.study_id for n in (*named, from_id) if n.study_id}
    subjects = {n.subject_id for n in (*named, from_id) if n.subject_id}
    study = identity.study_id(study_id) or (min(studies) if len(studies) == 1 else None)
    subject = identity.subject_id(subject_id) or (min(subjects) if len(subjects) == 1 else None)
    if len(studies) > 1 or len(subjects) > 1 or (studies and study not in studies):
        raise Rejected("unknown_id")
    dicoms = sorted(set(dicoms))
    if len(dicoms) == 1:
        return _Ids(dicoms[0], "image", dicoms, subject, study)
    if study is None:
        raise Rejected("unknown_id")
    return _Ids(f"s{study}", "study", dicoms, subject, study)


_identified = lru_cache(maxsize=1 << 16, typed=True)(_identify)


def _paths(value: Any) -> list[str]:
    """Strings of a path, a list of them, or of `{"path": ...}` as the Hub's images are stored."""
    found = []
    for item in value if isinstance(value, list) else [value]:
        path = item.get("path") if isinstance(item, Mapping) else item
        if isinstance(path, str) and 0 < len(path) < 1000:
            found.append(path)
    return found


def _given(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or value.isspace():
        raise Rejected("no_text")
    if len(value) > MAX_CHARACTERS:
        raise Rejected("over_long")
    return _encodable(value)


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as e:
        raise Rejected("invalid_encoding") from e
    return value


def _words(text: str) -> int:
    n = len(text.split())
    if n > MAX_WORDS:
        raise Rejected("over_long")
    return n


def _prompt(values: Mapping[str, Any]) -> str:
    prompt = values.get("prompt")
    if isinstance(prompt, str) and not prompt.isspace() and prompt:
        if len(prompt) > MAX_CHARACTERS:
            raise Rejected("over_long")
        return _encodable(prompt)
    diseases = values.get("diseases")
    named = diseases if isinstance(diseases, list) else [diseases]
    names = [d.strip() for d in named if isinstance(d, str) and d.strip()]
    if not names:
        raise Rejected("no_prompt")
    return _encodable(prompts.render(names))


def _split(value: Any) -> str | None:
    if not _given(value):
        return None
    if isinstance(value, str):
        name = value.strip().lower()
        name = SPLIT_ALIASES.get(name, name)
        if name in SPLITS:
            return name
    raise Rejected("unknown_split")


def _short(value: Any) -> str | None:
    """A short name; anything else is no name and left out."""
    if isinstance(value, str) and 0 < len(value) <= 200:
        return _encodable(value.strip()) or None
    return None


def _generation(value: Any) -> str | None:
    if not _given(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Rejected("unknown_generation")
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if not 0 < len(text) <= 100:
        raise Rejected("unknown_generation")
    return _encodable(text)


_SAMPLING = frozenset({"decoding", "temperature", "top_p", "max_tokens"})
_DECODING: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_new_tokens"),
    "seed": ("seed",),
}


def _decoding(values: Mapping[str, Any]) -> dict[str, float | int | None] | None:
    if values.keys().isdisjoint(_SAMPLING):
        return None
    given = values.get("decoding")
    # A bare `seed` is the seed of the synthetic world, not of the sampler.
    source = given if isinstance(given, Mapping) else {k: v for k, v in values.items() if k != "seed"}
    found: dict[str, float | int | None] = {}
    for name, spellings in _DECODING.items():
        value: Any = next((source[s] for s in spellings if s in source), None)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        whole = name in ("max_tokens", "seed")
        if usable and (not whole or (float(value).is_integer() and abs(value) < 2**31)):
            found[name] = int(value) if whole else float(value)
        else:
            found[name] = None
    return found if any(v is not None for v in found.values()) else None


_NEUTRAL = frozenset(
    ("cxr", "max", "cxrmax", "mimic", "train", "test", "validate", "validation", "val", "all", "data", "dataset",
     "output", "outputs", "response", "responses", "trajectory", "trajectories", "reasoning", "result", "results",
     "raw", "final", "full", "sft", "spd", "messages", "conversations", "llava", "swift")
)  # fmt: skip


def _teacher_of_file(path: Path) -> str | None:
    """The teacher that the name of a file, or of its folder, stands for.

    Words like "train" or "output" may stand around the teacher's name, anything else may not: `gpt-4o.jsonl` is not
    the teacher that the alias `gpt` means.
    """
    stem = path.name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    for name in (stem, path.parent.name):
        parts = [p for p in name.lower().replace("_", " ").replace("-", " ").split(" ") if p]
        spans = [(i, j) for i in range(len(parts)) for j in range(len(parts), i, -1)]
        for i, j in sorted(spans, key=lambda s: s[0] - s[1]):
            found = find_teacher("-".join(parts[i:j]))
            if found is not None and _NEUTRAL.issuperset(parts[:i] + parts[j:]):
                return found.id
    return None
