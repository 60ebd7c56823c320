"""A student that sees and writes: trained once on synthetic patients who occur in no benchmark world.

    python -m benchmarks.synthetic_captioner --out FOLDER [--subjects 1200] [--tiny]

Random weights do not learn to see from essays (the words that name what is on the image are few), nor to write from a
few hundred images, so the synthetic benchmark gives its students what a pretrained model brings. From other synthetic
patients, as many on films of each difficulty that `synthetic_difficulty` may choose: the vision tower is taught by a
linear head on its features (`_sight`); the text decoder on essays about given diagnoses, without any image
(template `rationale`); then, the tower frozen, the student on true captions such as `Left pleural effusion.
Cardiomegaly.` and on the seven teachers' essays beside their films (template `diagnose`), all by the engine. The
benchmark's difficulty is searched afterwards, with this student (`benchmarks.synthetic_difficulty --student
FOLDER/reads4/final`). A killed run goes on where it stopped.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from benchmarks import _sight, common
from benchmarks.synthetic_difficulty import STEPS
from cxr_max import align, data, synth
from cxr_max.align import Optimizer, TrainConfig
from cxr_max.align.scratch import write
from cxr_max.align.students import quiet
from cxr_max.evaluation import diagnosis, grading, predictors
from cxr_max.evaluation.running import EvalConfig, run
from cxr_max.evaluation.types import Context
from cxr_max.folders import write_atomic
from cxr_max.recipes import synthetic_bench
from cxr_max.roots import resolve

SEED = 1000
"""Of the first world, then one more each; benchmark worlds have seeds below 100."""
BATCH = 8
"""Captioned images a step."""
TEXTS = 2000
"""Images whose seven essays are read."""
FILMS = 1000
"""Images of each world whose seven essays are read beside the film."""
ESSAYS = 1000
"""Essays of each teacher that the tokenizer is trained on."""


@dataclass(frozen=True)
class World:
    """One world of patients, its release of captions, and its release of essays.

    Attributes:
        out: folder of everything.
        number: of the difficulty, and of the world.
    """

    out: Path
    number: int

    @property
    def folder(self) -> Path:
        """Of the synthetic world."""
        return self.out / f"world{self.number}"

    @property
    def captions(self) -> Path:
        """The release whose one trajectory an image is its true caption."""
        return self.out / f"release{self.number}"

    @property
    def essays(self) -> Path:
        """The release of what the teachers said."""
        return self.out / f"essays{self.number}"

    @property
    def mimic(self) -> tuple[Path, ...]:
        """The MIMIC-CXR root."""
        return (self.folder / "mimic",)

    def context(self, limit: int | None = None) -> Context:
        """Where tasks find this world."""
        return Context(resolve([], mimic_roots=list(self.mimic)), limit, self.captions, self.folder / "truth")


def captioned(row: Mapping[str, Any], there: Mapping[int, diagnosis.Truth], study: int) -> dict[str, Any]:
    """A raw row whose response is the caption of what is there; it stands in the place of one teacher's."""
    said = [f"{side or ''} {label}".strip().capitalize() for label, side in there.get(study, ())]
    return {**row, "response": ". ".join(said or ["Nothing abnormal"]) + "."}


def captions(world: Path) -> Iterator[str]:
    """Lines of the raw file of captions."""
    there = diagnosis.truth_of(world / "truth")
    for line in next(iter(sorted((world / "raw").glob("*.jsonl")))).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        study = int(Path(row["image"]).parent.name.removeprefix("s"))
        yield json.dumps(captioned(row, there, study))


def prepared(out: Path, subjects: int) -> tuple[World, ...]:
    """The worlds, one a difficulty, with their releases; those that are there are left as they are."""
    worlds = tuple(World(out, n) for n in range(len(STEPS)))
    for w, films in zip(worlds, STEPS, strict=True):
        if not (w.folder / "truth" / "states.parquet").is_file():
            synth.write_world(synthetic_bench.world(subjects=subjects, seed=SEED + w.number, **films), w.folder)
        if not (w.captions / "manifest.json").is_file():
            raw = out / f"raw{w.number}"
            raw.mkdir(exist_ok=True)
            write_atomic(raw / "captions.jsonl", "\n".join(captions(w.folder)) + "\n")
            data.build([raw], w.captions, findings=False)
        if not (w.essays / "manifest.json").is_file():
            data.build([w.folder / "raw"], w.essays, findings=False)
    return worlds


def seeing(worlds: Sequence[World], *, epochs: int, tiny: bool) -> tuple[Path, dict[str, Any]]:
    """Folder of the benchmark's student with a tower that sees, and how well it does on validate of each world."""
    out = worlds[0].out
    spec, folder = _first(worlds[0], tiny=tiny).model, out / "seeing"
    write(spec, _essays(worlds[0].folder), out / "random", seed=SEED)
    with quiet():
        model = AutoModelForImageTextToText.from_pretrained(out / "random")
    tower, processor = model.model.visual, AutoImageProcessor.from_pretrained(out / "random", backend="pil")
    pairs = sorted({p for w in worlds for t in diagnosis.truth_of(w.folder / "truth").values() for p in t}, key=str)
    limit = 4 if tiny else None
    parts = [_truth(w, pairs, "train", limit) for w in worlds]
    films = _sight.Films(processor, [p for paths, _ in parts for p in paths], np.concatenate([t for _, t in parts]))
    head = _sight.teach(tower, films, out / "sight.pt", epochs=1 if tiny else epochs, seed=SEED)
    shutil.copytree(out / "random", folder, dirs_exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
    areas = [_sight.area(tower, head, _sight.Films(processor, *_truth(w, pairs, "validate", limit))) for w in worlds]
    return folder, {"images": len(films), "auc_validate": areas}


def _truth(world: World, pairs: Sequence[Any], split: str, limit: int | None) -> tuple[list[str], np.ndarray]:
    """Frontal images of a split and, for each, which of the (label, side) pairs are there."""
    asked = diagnosis.items(world.context(limit), split)
    return [str(i.sample.images[0]) for i in asked], np.array([[p in i.target for p in pairs] for i in asked])


def _essays(world: Path) -> Iterator[str]:
    for path in sorted((world / "raw").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[:ESSAYS]:
            yield json.loads(line)["response"]


def _first(world: World, *, tiny: bool) -> TrainConfig:
    first = synthetic_bench.build(
        release=world.captions, out=world.out, mimic_root=world.mimic, seed=SEED, size="small" if tiny else "full"
    )[0]
    assert isinstance(first, TrainConfig)
    return first


def stages(worlds: Sequence[World], student: Path, *, epochs: float, tiny: bool) -> Iterator[TrainConfig]:
    """The engine's stages: essays as text alone; then, the tower frozen, captions and essays of each world's films."""
    out, first = worlds[0].out, _first(worlds[0], tiny=tiny)
    rates = Optimizer(learning_rate=2e-3, min_learning_rate=1e-4, warmup_ratio=0.05, groups=2, micro_groups=2)
    reading = first.with_(
        release=worlds[0].essays,
        out=out / "language",
        model=replace(first.model, scratch=None, pretrained=str(student), freeze_vision=True),
        template="rationale",
        images=False,
        optimizer=rates,
        limit=10 if tiny else TEXTS,
        epochs=1.0,
        max_steps=2 if tiny else None,
        recipe="synthetic_captioner",
    )
    yield reading
    looking = reading.with_(
        model=replace(first.model, scratch=None, freeze_vision=True, min_pixels=None, max_pixels=None),
        template="diagnose",
        images=True,
    )
    # A release holds one world; so one stage a world, hard films first.
    for w in worlds:
        yield looking.with_(
            release=w.captions,
            out=out / f"captions{w.number}",
            start=out / (f"captions{w.number - 1}" if w.number else "language") / "final",
            mimic_root=w.mimic,
            optimizer=replace(rates, groups=BATCH, micro_groups=BATCH),
            limit=20 if tiny else None,
            epochs=epochs,
        )
    for w in worlds:
        yield looking.with_(
            release=w.essays,
            out=out / f"reads{w.number}",
            start=out / (f"reads{w.number - 1}" if w.number else f"captions{len(worlds) - 1}") / "final",
            mimic_root=w.mimic,
            optimizer=replace(rates, learning_rate=1e-3, groups=1, micro_groups=1),
            limit=10 if tiny else FILMS,
        )


def judged(world: World, student: Path, *, limit: int | None) -> dict[str, float]:
    """The student's scores on validate patients of a captioner's world, against their truth."""
    options = {"model": str(student), **synthetic_bench.DESIGN.predictor}
    out = world.out / f"judged{world.number}"
    run(EvalConfig(("diagnosis_validate",), out, world.context(limit)), lambda: predictors.make("hf", options))
    rows = [s.row for s in grading.scored(out, draws=0) if s.row["subset"].startswith("all")]
    return {r["group"]: r["value"] for r in rows if r["score"] == "macro_accuracy"}


def main() -> None:
    """Make the worlds, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--subjects", type=int, default=1200, help="of each of the worlds")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--sight-epochs", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    args = parser.parse_args()
    subjects = 20 if args.tiny else args.subjects
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        worlds = prepared(out, subjects)
        student, sight = seeing(worlds, epochs=args.sight_epochs, tiny=args.tiny)
        print(sight, flush=True)
        done = [align.train(s, tell=print) for s in stages(worlds, student, epochs=args.epochs, tiny=args.tiny)]
        found = {
            "films": STEPS,
            "subjects": subjects,
            "sight": {"epochs": args.sight_epochs, **sight},
            "epochs": args.epochs,
            "steps": [d.steps for d in done],
            "images": [len(d.training_ids) for d in done],
            "wall_s": round(sum(d.cost.wall_s for d in done), 1),
            "macro_accuracy_validate": [judged(w, done[-1].folder, limit=4 if args.tiny else None) for w in worlds],
        }
        common.write("synthetic_captioner", found, tiny=args.tiny, packages=("torch", "transformers"))


if __name__ == "__main__":
    main()
