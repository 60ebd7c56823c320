"""What a benchmark fixes before the first run, and what a user chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_max import settings
from cxr_max.align import methods
from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation import rows
from cxr_max.evaluation.rows import Row
from cxr_max.roots import Root
from cxr_max.teachers import TEACHER_IDS, get_teacher

MAX_TRIALS = 4
FIXED = (
    "method",
    "beta",
    "strategy",
    "teachers",
    "fraction",
    "max_steps",
    "learning_rate",
    "apo_learning_rate",
    "shrink",
)
"""Options of recipes that rows, design or command line decide in a benchmark."""


@dataclass(frozen=True)
class Endpoint:
    """One score that is decided on.

    Attributes:
        task, score, group: as in a run's table.
        title: what it is, in the words of the table.
    """

    task: str
    score: str
    group: str
    title: str


@dataclass(frozen=True)
class Design:
    """Fixed in the recipe before any run.

    Attributes:
        primary: the endpoint verdicts rest on.
        second: the endpoint beside it; both stand in one Holm family.
        chosen_by: the score on validate that settings are chosen by.
        rows: names of the rows, when none are asked for.
        baseline: row all others are compared with.
        contrasts: further pairs (row, other), in the same family.
        sft_epochs: how often a fresh row sees every completion.
        epochs: how often a row that starts from sft sees every completion of its stage.
        fresh_rates: learning rates a fresh row tries, at most 4.
        continued_rates: learning rates a supervised row that starts from sft tries, as many.
        preference: (beta, learning rate) pairs a preference row tries, as many.
        trial_seeds: seeds of the trials.
        trial_length: of a trial, as a share of the epochs.
        predictor: arguments of the predictor `hf`.
        options: of the recipe's `build`.
        consensus: settings of a consensus that the student writes.
        reader: whether the recipe's student can read all trajectories of an image and write one.
        undertrained: the whole design shows the pipeline and nothing else.
    """

    primary: Endpoint
    second: Endpoint
    chosen_by: Endpoint
    rows: tuple[str, ...]
    baseline: str = "sft"
    contrasts: tuple[tuple[str, str], ...] = ()
    sft_epochs: float = 1.0
    epochs: float = 1.0
    fresh_rates: tuple[float, ...] = (1e-4,)
    continued_rates: tuple[float, ...] = (2e-5,)
    preference: tuple[tuple[float, float], ...] = ((0.1, 2e-5),)
    trial_seeds: int = 2
    trial_length: float = 0.5
    predictor: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    consensus: Mapping[str, Any] = field(default_factory=dict)
    reader: bool = False
    undertrained: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """What every row is asked on the test split: the tasks of both endpoints, each once."""
        return tuple(dict.fromkeys((self.primary.task, self.second.task)))

    def __post_init__(self) -> None:
        counts = {len(self.fresh_rates), len(self.continued_rates), len(self.preference)}
        if len(counts) > 1 or not 1 <= counts.pop() <= MAX_TRIALS:
            raise UsageError(f"every kind of row tries equally many settings, 1 to {MAX_TRIALS}")
        if self.sft_epochs <= 0 or self.epochs <= 0 or not 0 < self.trial_length <= 1 or self.trial_seeds < 1:
            raise UsageError("epochs, trial_length and trial_seeds are above 0, trial_length at most 1")
        if self.baseline not in self.rows:
            raise UsageError(f"the baseline {self.baseline!r} is none of the rows {', '.join(self.rows)}")


@dataclass(frozen=True)
class Setting:
    """What is chosen on validate: learning rate and, for methods that have one, beta."""

    learning_rate: float
    beta: float | None = None

    @property
    def hyper(self) -> dict[str, float]:
        """The method's settings among them."""
        return {} if self.beta is None else {"beta": self.beta}

    def __str__(self) -> str:
        beta = "" if self.beta is None else f", beta {self.beta:g}"
        return f"lr {self.learning_rate:g}{beta}"


def candidates(design: Design, row: Row) -> tuple[Setting, ...]:
    """The settings a row tries on validate: equally many for every row that is trained.

    A row's own `tries` stand in place of the design's. A beta that the row fixes is not tried: it takes the design's
    rates, fewer trials where they repeat.

    Raises:
        UsageError: `tries` are not as many as the design's.
    """
    if not row.trained:
        return ()
    if row.tries:
        wanted = len(design.preference)
        # A quick design tries fewer: the first of a row's own.
        own = row.tries[:wanted] if design.undertrained else row.tries
        if len(own) != wanted:
            raise UsageError(f"row {row.name} tries {len(own)} settings; the design tries {wanted} a row")
        if has_beta(row.method):
            return tuple(Setting(float(rate), float(beta)) for beta, rate in own)
        return tuple(Setting(float(rate)) for rate in own)
    if has_beta(row.method):
        fixed = row.hyper.get("beta")
        found = [Setting(rate, beta if fixed is None else fixed) for beta, rate in design.preference]
        return tuple(dict.fromkeys(found))
    rates = design.fresh_rates if row.start == "fresh" else design.continued_rates
    return tuple(Setting(rate) for rate in rates)


def has_beta(method: str) -> bool:
    """Whether a method has a setting `beta`."""
    return "beta" in getattr(methods.get(method).Hyper, "__dataclass_fields__", {})


@dataclass(frozen=True)
class BenchConfig:
    """One benchmark.

    Attributes:
        recipe: a module of `cxr_max.recipes` with NAME, build and DESIGN (and QUICK for `quick`).
        release: folder of the release; never guessed.
        out: folder of everything.
        rows: the rows, in the order of the table.
        seeds: runs a row.
        design: of the recipe, or its quick form.
        roots: where images lie.
        truth: the truth folder of a synthetic world.
        fractions: of the training patients; one table each.
        teachers: ids of those that take part; empty = all.
        quick: the recipe's quick form.
        options: further options of the recipe's `build`, before the design's.
        settings_from: folder of another run of the benchmark whose choice of settings is taken instead of trials.
        draws: of the bootstrap.
        spelled: the recipe as the user named it, such as the path of a file; empty = its NAME.
    """

    recipe: Any
    release: Path
    out: Path
    rows: tuple[Row, ...]
    seeds: int
    design: Design
    roots: tuple[Root, ...] = ()
    truth: Path | None = None
    fractions: tuple[float, ...] = (1.0,)
    teachers: tuple[str, ...] = ()
    quick: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    settings_from: Path | None = None
    draws: int = 2000
    spelled: str = ""


def configure(
    recipe: Any,
    release: Path,
    out: Path,
    *,
    names: Sequence[str] = (),
    added: Sequence[str] = (),
    quick: bool = False,
    **more: Any,
) -> BenchConfig:
    """A benchmark from what the command line has.

    Args:
        recipe: a recipe's module.
        release: folder of the release.
        out: folder of everything.
        names: rows, by name or path; empty takes the recipe's.
        added: `NAME=DIR` of models trained elsewhere.
        quick: the recipe's quick form, one seed.
        **more: the other fields of `BenchConfig`.

    Raises:
        UsageError: the recipe has no design, a value outside what is allowed, or a row was named twice.
        UnknownNameError: no such row.
    """
    design = getattr(recipe, "QUICK" if quick else "DESIGN", None)
    if not isinstance(design, Design):
        raise UsageError(
            f"recipe {recipe.NAME} has no {'quick ' * quick}design, so nothing about a comparison is fixed in it",
            next="cxr-max bench --recipe synthetic_bench",
        )
    chosen = tuple(rows.get(n) for n in (names or design.rows)) + tuple(map(rows.added, added))
    twice = sorted({r.name for r in chosen if [c.name for c in chosen].count(r.name) > 1})
    if twice:
        raise UsageError(f"row {', '.join(twice)} was named more than once")
    if design.baseline not in {r.name for r in chosen} and len(chosen) > 1:
        raise UnknownNameError.of("baseline among the rows", design.baseline, [r.name for r in chosen])
    _check_longest(chosen)
    given(recipe, design, more.get("options", {}))
    for row in chosen:
        candidates(design, row)
    seeds = 1 if quick else more.pop("seeds", 1)
    more.pop("seeds", None)
    config = BenchConfig(recipe, release, out, chosen, seeds, design, quick=quick, **more)
    if config.seeds < 1 or config.draws < 1:
        raise UsageError(f"seeds {config.seeds}, draws {config.draws}; allowed: 1 and above")
    if not config.fractions or any(not 0 < f <= 1 for f in config.fractions):
        raise UsageError(f"fractions {config.fractions}; allowed: above 0, at most 1")
    return config


def given(recipe: Any, design: Design, options: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's options that the user gave, as what they are declared to be.

    Raises:
        UnknownNameError: the recipe has no such option. UsageError: a value of another kind, or an option that the
            benchmark decides itself.
    """
    fixed = sorted(set(options) & {*FIXED, *design.options})
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)}: decided by the rows and the design, so that all rows are compared on equal terms",
            next="a row of your own (--rows my_row.toml), --teachers, or --fraction",
        )
    return settings.typed(options, recipe.Options, f"option of {recipe.NAME}") if options else {}


def _check_longest(chosen: Sequence[Row]) -> None:
    """A row that is trained up to the costliest other one needs one that costs more than what it starts from."""
    longest = [r.name for r in chosen if r.budget == "longest"]
    if longest and not any(r.trained and r.start == "sft" and r.budget != "longest" for r in chosen):
        raise UsageError(
            f"row {', '.join(longest)} is trained up to the cost of the costliest row, and none of the rows costs more "
            "than the sft checkpoint",
            next="name the rows it is to match as well, such as apo",
        )


def shares(text: str) -> tuple[float, ...]:
    """Shares of the training patients from `F,...`.

    Raises:
        UsageError: a part is no number.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as e:
        raise UsageError(f"--fraction {text!r}; allowed: numbers above 0, at most 1, with commas between") from e


def some_teachers(text: str) -> tuple[str, ...]:
    """Teachers from `K`, the first K of the paper's order, or from names with commas between; empty = all.

    Raises:
        UsageError: fewer than two (that is row sft_single), or more than there are.
        UnknownNameError: no such teacher.
    """
    if not text.strip():
        return ()
    named = text.strip()
    ids = TEACHER_IDS[: int(named)] if named.isdecimal() else tuple(get_teacher(n.strip()).id for n in named.split(","))
    wanted = int(named) if named.isdecimal() else len(set(ids))
    if not 2 <= wanted <= len(TEACHER_IDS) or wanted != len(ids):
        raise UsageError(f"--teachers {text!r}; allowed: 2 to {len(TEACHER_IDS)}, each once (one: row sft_single)")
    return ids
