"""What a raw record means: which of its keys holds the trajectory, the teacher, the image and so on.

The authors' files have no published schema, so records are recognised by their keys: flat records, LLaVA
`conversations`, ms-swift `messages`. A mapping file decides wherever it names a field:

    [fields]
    trajectory = "result.text"      # a dotted path; list items by number, as in "images.0"
    [constants]
    split = "train"                 # the same value for every row
    [teachers]
    "model A" = "gpt-5"             # a spelling that is not among the known aliases
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.teachers import find_teacher

SYNONYMS: dict[str, tuple[str, ...]] = {
    "trajectory": (
        "trajectory", "response", "reasoning", "reasoning_trajectory", "answer", "output", "completion", "prediction",
        "generated_text", "model_response", "teacher_response", "result", "text", "content",
    ),
    "teacher": ("teacher", "teacher_id", "source_model", "mllm", "llm", "model_name", "model", "source"),
    "teacher_model": ("teacher_model", "model", "model_name", "model_id"),
    "teacher_snapshot": ("teacher_snapshot", "snapshot", "model_version"),
    "prompt": ("prompt", "question", "instruction", "query", "input", "user_prompt"),
    "diseases": ("diseases", "disease", "diagnoses", "diagnosis", "diagnose"),
    "image": (
        "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "filename",
        "file", "path", "dicom_path",
    ),
    "dicom_id": ("dicom_id", "dicom", "dicom_ids", "image_id"),
    "study_id": ("study_id", "study", "sid"),
    "subject_id": ("subject_id", "patient_id", "subject", "patient", "pid"),
    "id": ("id", "instance_id", "idx", "uid", "key"),
    "split": ("split", "subset", "partition"),
    "view": ("view", "view_position", "viewposition"),
    "generation": ("generation", "sample_id", "sample_index", "generation_id", "replicate"),
    "decoding": ("decoding", "sampling", "generation_config", "sampling_params"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_new_tokens"),
    "rejected": ("rejected_response",),
    "strategy": ("strategy", "consensus_strategy"),
    "synthetic": ("synthetic",),
    "seed": ("seed",),
}  # fmt: skip
"""Every field a record can give, with the spellings that are recognised, the first present one wins.

`report` is missing on purpose: in files about MIMIC-CXR it holds the radiologist's report, which may not enter a
release.
"""

NEEDED = "trajectory; teacher (a field or the file's name); image, dicom_id or study_id; prompt or diseases"
SKELETON = """[fields]
trajectory = "YOUR.KEY"
teacher = "YOUR.KEY"
image = "YOUR.KEY"       # or dicom_id, or study_id and subject_id
prompt = "YOUR.KEY"
[constants]
split = "train"
[teachers]
"YOUR SPELLING" = "gpt-5\""""

Get = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Mapped:
    """A mapping file: field -> dotted path, field -> constant, spelling -> teacher id."""

    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    teachers: Mapping[str, str] = field(default_factory=dict)


def load_mapping(path: Path) -> Mapped:
    """Read a mapping file.

    Raises:
        MissingFileError: there is none at this path.
        UsageError: not TOML, or a section or field that is not known.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise MissingFileError(f"no mapping file at {path}") from e
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError(f"{path} is no mapping file: {e}", next=f"a skeleton:\n{SKELETON}") from e
    sections = {"fields", "constants", "teachers"}
    unknown = sorted(k for k, v in found.items() if k not in sections or not isinstance(v, dict))
    for section in {"fields", "constants"} & found.keys() - set(unknown):
        unknown += [f"{section}.{k}" for k in found[section] if k not in SYNONYMS]
    if unknown:
        raise UsageError(
            f"{path}: unknown {', '.join(unknown)}; sections: {', '.join(sorted(sections))}; "
            f"fields: {', '.join(SYNONYMS)}"
        )
    for name in ("fields", "teachers"):
        if not all(isinstance(v, str) for v in found.get(name, {}).values()):
            raise UsageError(f"{path}: every value of [{name}] is a string")
    return Mapped(found.get("fields", {}), found.get("constants", {}), found.get("teachers", {}))


class Reading(NamedTuple):
    """How records with one set of keys are read.

    Attributes:
        shape: flat, conversations, messages or wide.
        getters: field -> function of the record.
        taken: field -> the key it is taken from, for the explanation.
        ignored: keys nothing is taken from.
        teachers: wide records only: (key, teacher id) of the columns that hold trajectories.
    """

    shape: str
    getters: dict[str, Get]
    taken: dict[str, str]
    ignored: tuple[str, ...]
    teachers: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether there is a place for the trajectory."""
        return "trajectory" in self.getters or bool(self.teachers)


def fold(key: str) -> str:
    """A key in lower case with underscores, as the synonyms are spelled."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()).strip("_")


def recognise(keys: tuple[str, ...], mapped: Mapped) -> Reading:
    """Decide how records with these keys are read."""
    by_folded = {fold(k): k for k in reversed(keys) if isinstance(k, str)}
    taken: dict[str, str] = {}
    getters: dict[str, Get] = {}
    shape = next((s for s in ("conversations", "messages") if s in keys), "flat")
    if shape != "flat":
        taken |= {"trajectory": f"{shape} (last answer)", "prompt": f"{shape} (questions)"}
        getters |= {"trajectory": _turns(shape, answer=True), "prompt": _turns(shape, answer=False)}
    for name, spellings in SYNONYMS.items():
        if name in mapped.fields:
            taken[name], getters[name] = mapped.fields[name], _path(mapped.fields[name])
        elif name in mapped.constants:
            taken[name], getters[name] = "(constant)", _constant(mapped.constants[name])
        elif name not in getters:
            key = next((by_folded[s] for s in spellings if s in by_folded), None)
            if key is not None:
                taken[name], getters[name] = key, _item(key)
    teachers: tuple[tuple[str, str], ...] = ()
    if "trajectory" not in getters:
        columns = [(k, t.id) for k in keys if isinstance(k, str) and (t := find_teacher(k)) is not None]
        if len(columns) > 1:
            shape, teachers = "wide", tuple(columns)
            taken["trajectory"] = f"{len(columns)} columns named after teachers"
    used = {*taken.values(), *(k for k, _ in teachers), *(k for k in ("conversations", "messages") if k == shape)}
    used |= {p.partition(".")[0] for p in mapped.fields.values()}
    return Reading(shape, getters, taken, tuple(sorted(k for k in keys if k not in used)), teachers)


def unrecognised(path: Path, keys: tuple[str, ...]) -> DataError:
    """The error for a file none of whose records holds a trajectory; keys are shown, values never."""
    # A key may itself be data where records are keyed by text.
    shown = ", ".join(k if re.fullmatch(r"[\w .:/-]{1,40}", k) else "(unprintable key)" for k in keys[:40]) or "none"
    return DataError(
        f"{path}: no key holds a trajectory\n  keys found: {shown}\n  needed: {NEEDED}",
        next=f"write a mapping file and pass it as --map mapping.toml:\n{SKELETON}",
    )


def _item(key: str) -> Get:
    return lambda record: record.get(key)


def _constant(value: Any) -> Get:
    return lambda record: value


def _path(dotted: str) -> Get:
    parts = dotted.split(".")

    def get(record: Mapping[str, Any]) -> Any:
        # A key may itself contain dots.
        if dotted in record:
            return record[dotted]
        value: Any = record
        for part in parts:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value

    return get


_USER, _ASSISTANT = {"human", "user"}, {"gpt", "assistant", "model", "bot"}
_IMAGE_TAG = re.compile(r"\s*<image>\s*")


def _turns(key: str, *, answer: bool) -> Get:
    """The last answer, or everything the user said before it with the image tags removed."""

    def get(record: Mapping[str, Any]) -> Any:
        turns = record.get(key)
        if not isinstance(turns, list):
            return None
        said: list[str] = []
        replied = None
        for turn in turns:
            if not isinstance(turn, Mapping):
                return None
            role = turn.get("role", turn.get("from"))
            text = _content(turn.get("content", turn.get("value")))
            if role in _ASSISTANT:
                replied = text
            elif role in _USER and text is not None:
                said.append(_IMAGE_TAG.sub(" ", text).strip())
        return replied if answer else "\n".join(filter(None, said)) or None

    return get


def _content(content: Any) -> str | None:
    """Text of a message: a string, or the text parts of a list of parts."""
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
        return "".join(p for p in parts if isinstance(p, str)) or None
    return content if isinstance(content, str) else None
