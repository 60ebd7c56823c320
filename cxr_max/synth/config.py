"""What a synthetic world is made of, and the checks on it."""

import math
from dataclasses import dataclass
from typing import Literal

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.teachers import TEACHER_IDS, get_teacher

Format = Literal["jpg", "dicom", "both"]
FORMATS: tuple[str, ...] = ("jpg", "dicom", "both")
MAX_INSTANCES = 400_000
MAX_SUBJECTS = 100_000
MAX_GENERATIONS = 32


@dataclass(frozen=True)
class WorldConfig:
    """One synthetic world. The same values give the same tree, byte for byte, whatever `jobs` is.

    Attributes:
        subjects: number of patients (default 100 when `instances` is not given either).
        instances: number of images shown to the teachers; patients are added until there are as many.
        seed: of everything; >= 0.
        images: write pixels; without them the tables still list every image.
        format: of the pixels: jpg, dicom or both.
        size: longer side of an image in pixels, 64 to 4096.
        jobs: worker processes.
        error_correlation: R in [0, 1]; two teachers' errors on one event have the phi coefficient R times the
            largest that their two rates allow (equal rates: R itself). An assumption, not an estimate.
        step_drift: X; the log-odds of an error change by X from a trajectory's first planned claim to its last.
        generations: trajectories per teacher and image.
        teachers: ids of the teachers to simulate; empty = all seven.
        misspellings: share of clauses in which a word is misspelled or abbreviated, in [0, 1].
        subtlety: in [0, 1]; how faint findings are in the pixels (0 = plain, default 0.3).
        noise: standard deviation of the pixel noise, in 12-bit grey levels.
        length: factor on the number of words each teacher aims at, 0.1 to 1; claims are not shortened.
        contrast: factor on the contrast of all findings in the pixels, 0.1 to 2.
    """

    subjects: int | None = None
    instances: int | None = None
    seed: int = 0
    images: bool = True
    format: Format = "jpg"
    size: int = 512
    jobs: int = 1
    error_correlation: float = 0.5
    step_drift: float = 0.0
    generations: int = 1
    teachers: tuple[str, ...] = ()
    misspellings: float = 0.0
    subtlety: float = 0.3
    noise: float = 25.0
    contrast: float = 1.0
    length: float = 1.0


def validate(config: WorldConfig) -> WorldConfig:
    """The configuration with teachers resolved to ids and the default number of subjects filled in.

    Raises:
        UsageError: a value outside what is allowed, or both `subjects` and `instances`.
        UnknownNameError: a teacher or format that does not exist.
    """
    if config.subjects is not None and config.instances is not None:
        raise UsageError("both subjects and instances were given", next="give --subjects or --instances, not both")
    _range("subjects", config.subjects if config.subjects is not None else 1, 1, MAX_SUBJECTS)
    _range("instances", config.instances if config.instances is not None else 1, 1, MAX_INSTANCES)
    _range("seed", config.seed, 0, 2**63 - 1)
    _range("size", config.size, 64, 4096)
    _range("jobs", config.jobs, 1, 256)
    _range("generations", config.generations, 1, MAX_GENERATIONS)
    _range("error correlation", config.error_correlation, 0.0, 1.0)
    _range("step drift", config.step_drift, -6.0, 6.0)
    _range("misspellings", config.misspellings, 0.0, 1.0)
    _range("subtlety", config.subtlety, 0.0, 1.0)
    _range("noise", config.noise, 0.0, 1000.0)
    _range("contrast", config.contrast, 0.1, 2.0)
    _range("length", config.length, 0.1, 1.0)
    if config.format not in FORMATS:
        raise UnknownNameError.of("image format", config.format, FORMATS)
    teachers = tuple(get_teacher(name).id for name in config.teachers) or TEACHER_IDS
    if len(set(teachers)) < len(teachers):
        raise UsageError("a teacher was named twice")
    subjects = 100 if config.subjects is None and config.instances is None else config.subjects
    values = {**config.__dict__, "teachers": teachers, "subjects": subjects}
    return WorldConfig(**values)


def _range(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} = {value!r}; allowed: {low} to {high}")
