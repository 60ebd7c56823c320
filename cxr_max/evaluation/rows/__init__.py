"""Rows of the benchmark: data, one TOML file each. A file's name is the row's; packages add rows by entry point.

    sentence    what the row is, in one sentence
    start       fresh (random weights of the seed), pretrained, or sft (the checkpoint all rows of a seed share)
    method      a method of `align.methods`, or none: nothing is trained
    hyper       table of the method's settings that are fixed for this row
    teachers    all, best (one, chosen on validate), or a list of ids
    positives   teachers (every trajectory is learned) or consensus
    consensus   strategy the positives come from; empty when there is none
    negatives   kind of `align.negatives.Choice`
    weights     its weights
    tries       settings tried on validate in place of the design's, exactly as many: [[beta, rate], ...] of a method
                that has a beta, [rate, ...] of others; a quick design takes the first
    budget      once: every completion is seen equally often across rows; longest: up to the cost of the costliest row
                (of sft from sft on all teachers alone, whose steps cost what those of the shared checkpoint cost)
    needs       what must be at hand, else the row is marked "not run": pretrained (weights to start from), reader (a
                student that can read all trajectories of an image and write one)

An entry point of the group `cxr_max.rows` names an object with `read_text()`: the package's TOML file as a path or an
`importlib.resources` traversable.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from cxr_max.align import consensus as strategies
from cxr_max.align import methods
from cxr_max.align.negatives import KINDS, WEIGHTS
from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.teachers import TEACHER_IDS

GROUP = "cxr_max.rows"
STARTS = ("fresh", "pretrained", "sft")
BUDGETS = ("once", "longest")
NEEDS = ("pretrained", "reader")
NO_METHOD = "none"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Row:
    """One row; see the module's text for the fields.

    `folder` is set for a model that was trained elsewhere, `source` for a row that was read from a user's file.
    """

    name: str
    sentence: str
    method: str
    start: str = "sft"
    hyper: Mapping[str, Any] = field(default_factory=dict)
    teachers: str | tuple[str, ...] = "all"
    positives: str = "teachers"
    consensus: str = ""
    negatives: str = "all"
    weights: str = "none"
    tries: tuple[Any, ...] = ()
    budget: str = "once"
    needs: tuple[str, ...] = ()
    folder: Path | None = None
    source: Path | None = None

    @property
    def trained(self) -> bool:
        """Whether the benchmark trains it."""
        return self.method != NO_METHOD and self.folder is None


def own() -> tuple[str, ...]:
    """Names of our rows, sorted."""
    here = files(__name__)
    return tuple(sorted(f.name.removesuffix(".toml") for f in here.iterdir() if f.name.endswith(".toml")))


def names() -> tuple[str, ...]:
    """All rows: ours, then those of installed packages."""
    theirs = {e.name for e in importlib.metadata.entry_points(group=GROUP)}
    return own() + tuple(sorted(theirs - set(own())))


def get(name: str) -> Row:
    """A row by name, or by the path of a TOML file.

    Raises:
        UnknownNameError: no such row. MissingFileError: no such file. DataError: the file is no row.
        UsageError: the file has the name of a row there is, or one that no file or table can carry.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise MissingFileError(f"no file of a row at {name}")
        _check_own_name(path.stem)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as e:
            raise DataError(f"row {path.stem}: the file is not UTF-8") from e
        return replace(parse(path.stem, text), source=path)
    if name in own():
        return parse(name, files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    found = [e for e in importlib.metadata.entry_points(group=GROUP) if e.name == name]
    if not found:
        raise UnknownNameError.of("row", name, names(), next="a file: --rows my_row.toml; a folder: --add NAME=DIR")
    source = found[0].load()
    if not hasattr(source, "read_text"):
        raise DataError(f"the entry point of row {name!r} is no file: it has no read_text()")
    return parse(name, source.read_text(encoding="utf-8"))


def added(text: str) -> Row:
    """A row `NAME=DIR` for a model that was trained elsewhere.

    Raises:
        UsageError: not of that form, the name of a row there is, or one that no file or table can carry.
        MissingFileError: no such folder.
    """
    name, equals, path = text.partition("=")
    if not equals or not name.strip() or not path.strip():
        raise UsageError(f"{text!r} is not NAME=DIR")
    _check_own_name(name.strip())
    folder = Path(path.strip()).expanduser()
    if not folder.is_dir():
        raise MissingFileError(f"no folder of a model at {path.strip()}")
    return Row(name.strip(), "Trained elsewhere; budget and selection are not the benchmark's.", NO_METHOD,
               start="pretrained", folder=folder)  # fmt: skip


def _check_own_name(name: str) -> None:
    """A name becomes that of folders and files and stands in tables."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is no name for a row; allowed: 1 to 64 letters, digits, '_', '-' and '.', "
            "a letter or digit first"
        )
    if name in names():
        raise UsageError(f"there is a row named {name}", next="choose another name")


def parse(name: str, text: str) -> Row:
    """A row from TOML.

    Raises:
        DataError: no TOML, a field that does not exist or is missing, a value that is not allowed.
        UnknownNameError: no such method, teacher or strategy.
        UsageError: the file of the method cannot be imported.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise DataError(f"row {name}: no TOML: {e}") from e
    known = {f.name: f for f in fields(Row) if f.name not in ("name", "folder", "source")}
    strange = sorted(set(raw) - set(known))
    missing = [f for f in ("sentence", "method") if not raw.get(f)]
    if strange or missing:
        problem = f"no field {', '.join(strange)}" if strange else f"{', '.join(missing)} is missing"
        raise DataError(f"row {name}: {problem}; fields: {', '.join(known)}")
    for key, value in raw.items():
        _check_type(name, key, value)
    lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return _checked(Row(name=name, **lists))


def _check_type(row: str, key: str, value: Any) -> None:
    allowed: tuple[type, ...] = {
        "hyper": (dict,), "teachers": (str, list), "needs": (list,), "tries": (list,)
    }.get(key, (str,))  # fmt: skip
    texts = key == "tries" or not isinstance(value, list) or all(isinstance(v, str) for v in value)
    if not isinstance(value, allowed) or not texts:
        raise DataError(
            f"row {row}: {key} is {type(value).__name__}; allowed: {' or '.join(t.__name__ for t in allowed)}"
        )


def _checked(row: Row) -> Row:
    choices: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("start", row.start, STARTS), ("budget", row.budget, BUDGETS), ("negatives", row.negatives, KINDS),
        ("weights", row.weights, WEIGHTS), ("positives", row.positives, ("teachers", "consensus")),
        *(("needs", n, NEEDS) for n in row.needs),
    )  # fmt: skip
    for key, value, allowed in choices:
        if value not in allowed:
            raise DataError(f"row {row.name}: {key} is {value!r}; allowed: {', '.join(allowed)}")
    if isinstance(row.teachers, str):
        if row.teachers not in ("all", "best"):
            raise DataError(f"row {row.name}: teachers is {row.teachers!r}; allowed: all, best, or a list of ids")
    elif not row.teachers:
        raise DataError(f"row {row.name}: teachers is empty; allowed: all, best, or a list of ids")
    else:
        for teacher in row.teachers:
            if teacher not in TEACHER_IDS:
                raise UnknownNameError.of("teacher", teacher, TEACHER_IDS)
    if (row.positives == "consensus") != bool(row.consensus):
        raise DataError(
            f"row {row.name}: positives {row.positives!r} with consensus {row.consensus!r}; one needs the other"
        )
    plain = (row.method, row.start, row.teachers, row.positives) == ("sft", "sft", "all", "teachers")
    if row.budget == "longest" and not plain:
        raise DataError(
            f"row {row.name}: budget 'longest' is for method 'sft' from start 'sft' on all teachers; "
            "the number of steps is that row's"
        )
    if row.method != NO_METHOD:
        module = methods.get(row.method)
        settings = set(getattr(module.Hyper, "__dataclass_fields__", {}))
        strange = sorted(set(row.hyper) - settings)
        if strange:
            raise DataError(f"row {row.name}: method {row.method} has no setting {', '.join(strange)}")
        try:
            module.Hyper(**row.hyper)
        except (TypeError, ValueError) as e:
            raise DataError(f"row {row.name}: settings of method {row.method}: {e}") from e
        supervised = bool(getattr(module, "SUPERVISED", False))
        if row.positives == "teachers" and not supervised:
            raise DataError(
                f'row {row.name}: method {row.method} takes one positive a group; give positives = "consensus"'
            )
        _check_tries(row, "beta" in settings)
    if row.consensus:
        strategies.get(row.consensus)
    return row


def _check_tries(row: Row, has_beta: bool) -> None:
    for one in row.tries:
        numbers = one if has_beta else [one]
        sound = isinstance(numbers, list) and len(numbers) == (2 if has_beta else 1)
        if not sound or not all(isinstance(x, int | float) and not isinstance(x, bool) and x > 0 for x in numbers):
            raise DataError(
                f"row {row.name}: tries has {one!r}; allowed: "
                f"{'pairs [beta, learning rate]' if has_beta else 'learning rates'}, above 0"
            )
    if row.tries and has_beta and "beta" in row.hyper:
        raise DataError(f"row {row.name}: beta stands in hyper and in tries; one of them")
