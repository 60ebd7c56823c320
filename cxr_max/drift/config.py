"""What a drift report is asked to compute; validated once."""

from dataclasses import dataclass, field
from typing import TypedDict

from cxr_max.errors import UnknownNameError, UsageError

SECTIONS = ("both", "findings", "impression")
LEVELS = ("concept", "side", "zone")
POLICIES = ("pos", "neg", "drop", "own")
MODES = ("present", "present+absent")
GROUPINGS = ("view", "split", "n_diseases", "single_disease")
MIN_PATIENTS = 10
"""Cells over fewer patients are not printed for real data, and are "not enough patients" in subgroups."""


class Options(TypedDict, total=False):
    """Keyword options of `report`; see `Config` for their meaning."""

    teachers: tuple[str, ...] | list[str] | None
    split: str | None
    section: str
    level: str
    unc: str
    mode: str
    similarity: str
    draws: int
    seed: int
    limit: int | None
    embedding_n: int
    by: tuple[str, ...] | list[str]
    permutations: int
    shuffles: int
    bins: int
    hierarchy: bool
    jobs: int


@dataclass(frozen=True)
class Config:
    """Options of a drift report.

    Attributes:
        teachers: ids to keep; all that occur when None.
        split: MIMIC split to keep; all when None.
        section: reference text of the headline: both sections, findings or impression.
        level: what must agree: concept, side (concept and side) or zone (all three).
        unc: how uncertain findings count: pos, neg, drop or own (a status of their own).
        mode: present, or present+absent (absences are findings too).
        similarity: tfidf, encoder (sentence-transformers' default model) or encoder:PATH.
        draws: bootstrap draws.
        seed: of everything random.
        limit: keep only this many instances, the first by patient; all when None.
        embedding_n: studies in the subsample of the two-sample statistics.
        by: subgroups: view, split, n_diseases, single_disease.
        permutations: of every permutation test.
        shuffles: derangements of the matched shuffle.
        bins: bins of relative position along a trajectory.
        hierarchy: a finding entails its ancestors in the lexicon.
        jobs: processes for extraction when the release holds no findings.

    Raises:
        UsageError: a value outside what is allowed.
    """

    teachers: tuple[str, ...] | None = None
    split: str | None = None
    section: str = "both"
    level: str = "side"
    unc: str = "pos"
    mode: str = "present"
    similarity: str = "tfidf"
    draws: int = 2000
    seed: int = 0
    limit: int | None = None
    embedding_n: int = 2000
    by: tuple[str, ...] = field(default=())
    permutations: int = 199
    shuffles: int = 200
    bins: int = 5
    hierarchy: bool = False
    jobs: int = 1

    def __post_init__(self) -> None:
        for kind, value, allowed in (
            ("section", self.section, SECTIONS),
            ("level", self.level, LEVELS),
            ("unc policy", self.unc, POLICIES),
            ("mode", self.mode, MODES),
            ("similarity", self.similarity.partition(":")[0], ("tfidf", "encoder")),
            *(("subgroup", by, GROUPINGS) for by in self.by),
        ):
            if value not in allowed:
                raise UnknownNameError.of(kind, value, allowed)
        for name, least in (("draws", 0), ("embedding_n", 0), ("permutations", 1), ("shuffles", 1), ("bins", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}, at least {least} was expected")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit is {self.limit}, at least 1 was expected")


def from_options(options: Options) -> Config:
    """A validated configuration; lists become tuples."""
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return Config(**given)  # type: ignore[arg-type]
