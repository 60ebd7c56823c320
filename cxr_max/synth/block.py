"""One block of patients: reports, labels, trajectories and their truth. Blocks are independent of each other.

What comes out depends on the block and the configuration alone, never on the number of workers.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from cxr_max import prompts
from cxr_max.synth import films, labels, tables, temporal
from cxr_max.synth.concepts import ZONES, concepts, tuple_sides
from cxr_max.synth.config import WorldConfig
from cxr_max.synth.decide import (
    FLIPPED_SIDE,
    FLIPPED_STATUS,
    INVENTED,
    MISSED,
    NEGATED,
    NOTHING,
    Decisions,
    decide,
)
from cxr_max.synth.essays import Assertion, Essay, write_essay
from cxr_max.synth.grammar import Claim
from cxr_max.synth.profiles import profiles
from cxr_max.synth.reports import Report, write_report
from cxr_max.synth.teachers import Errors, draw_errors, prompted_concepts
from cxr_max.synth.truth import Rows
from cxr_max.synth.world import World
from cxr_max.teachers import TEACHER_IDS, get_teacher

BLOCK = 48
"""Patients per block."""
_OUTCOME = {FLIPPED_SIDE: "flipped_side", FLIPPED_STATUS: "flipped_status", INVENTED: "invented", MISSED: "missed"}


@dataclass
class Block:
    """What a block yields: JSONL bytes per teacher, truth tables, and rows of the CSV files."""

    raw: dict[str, bytes] = field(default_factory=dict)
    truth: dict[str, pa.Table] = field(default_factory=dict)
    csv: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What a worker is given: its part of the world, the block's number, and where the tree is being written."""

    world: World
    number: int
    config: WorldConfig
    root: Path


def run(task: Task) -> Block:
    """Write the report files of a block and return the rest."""
    world, config = task.world, task.config
    rng = Random(f"{config.seed}/{task.number}")
    block = Block(csv=tables.rows(world, config.size, rng))
    written = [write_report(world, s, rng, config.misspellings) for s in range(len(world.study_id))]
    named = _tables(block, world, written, rng)
    for s, report in enumerate(written):
        path = task.root / f"{tables.study_folder(world, s)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report.text, encoding="utf-8")
        block.reports.append(path.relative_to(task.root).as_posix())
    if config.images:
        films.write_images(world, task.root, config)
    statements = Rows("reports")
    for report in written:
        statements.extend(report.rows)
    block.truth = {
        "reports": statements.table(),
        "states": _states(world).table(),
        "progression": _progression(world).table(),
    }
    _trajectories(block, task, [named[s] for s in world.image_study[world.instance]])
    return block


def _tables(block: Block, world: World, written: list[Report], rng: Random) -> list[tuple[str, ...]]:
    """Label tables of the block; returns what each study's prompt names."""
    named, automatic, second, human = [], [], [], []
    for s, report in enumerate(written):
        flag, subject = str(world.flag[s]), int(world.study_subject[s])
        ids = (int(world.subject_id[subject]), int(world.study_id[s]))
        first, other = labels.chexpert(report, flag), labels.negbio(report, flag, rng)
        read = labels.radiologist(report, flag)
        named.append(labels.diseases(first, rng))
        if first is not None and other is not None:
            automatic.append((ids, first))
            second.append((ids, other))
        if read is not None and world.split[subject] == "test" and rng.random() < 0.5:
            human.append((ids[1:], read))
    block.csv["mimic-cxr-2.0.0-chexpert.csv.gz"] = labels.wide(automatic)
    block.csv["mimic-cxr-2.0.0-negbio.csv.gz"] = labels.wide(second)
    block.csv["mimic-cxr-2.1.0-test-set-labeled.csv"] = labels.wide(human)
    return named


def _states(world: World) -> Rows:
    rows = Rows("states")
    for s, i in zip(*world.present.nonzero(), strict=True):
        concept, zone = concepts()[i], int(world.zone[s, i])
        for side in tuple_sides(int(world.side[s, i])):
            rows.add(
                int(world.subject_id[world.study_subject[s]]), int(world.study_id[s]), concept.id, concept.label,
                side, ZONES[zone] if zone >= 0 else None, float(world.severity[s, i]), int(world.level[s, i]),
                str(world.change[s, i]) or None, float(world.hardness[s, i]),
            )  # fmt: skip
    return rows


def _progression(world: World) -> Rows:
    rows = Rows("progression")
    rows.extend(temporal.progression(world))
    return rows


def _trajectories(block: Block, task: Task, named: list[tuple[str, ...]]) -> None:
    world, config = task.world, task.config
    errors = draw_errors(
        world, named, seed=(config.seed, task.number), correlation=config.error_correlation,
        step_drift=config.step_drift, generations=config.generations,
    )  # fmt: skip
    decisions, prompted = decide(world, errors), prompted_concepts(named)[0]
    assertions, essays = Rows("assertions"), Rows("trajectories")
    lines: dict[str, list[str]] = {t: [] for t in config.teachers}
    for i, m in enumerate(world.instance):
        s = int(world.image_study[m])
        ids = (int(world.subject_id[world.study_subject[s]]), int(world.study_id[s]))
        head = {"image": tables.image_path(world, int(m)), "split": str(world.split[world.study_subject[s]])}
        for teacher in config.teachers:
            u = TEACHER_IDS.index(teacher)
            order = _treated(named[i], errors, i, u)
            for g in range(config.generations):
                rng = Random(f"{config.seed}/{world.dicom_id[m]}/{u}/{g}")
                refused = bool(errors.refuse[i, g, u])
                plan = _plan(world, s, (i, g, u), (errors, decisions, prompted))
                essay = write_essay(
                    rng,
                    profiles()[teacher],
                    order,
                    plan,
                    refuse=refused,
                    typos=config.misspellings,
                    length=config.length,
                )
                key = (str(world.dicom_id[m]), teacher, g)
                assertions.extend((*key, *row) for row in essay.rows)
                origin = _origin(bool(errors.refuse_shared[i, u])) if refused else "none"
                silent = all(row[0] is None for row in essay.rows)
                essays.add(*key, *ids, silent, refused, origin, essay.words, essay.steps)
                lines[teacher].append(_line(head, teacher, prompts.render(named[i]), essay, (g, config)))
    block.raw = {t: "".join(x).encode() for t, x in lines.items()}
    block.truth |= {"assertions": assertions.table(), "trajectories": essays.table()}


def _line(head: dict[str, str], teacher: str, prompt: str, essay: Essay, run_of: tuple[int, WorldConfig]) -> str:
    generation, config = run_of
    who = get_teacher(teacher)
    row: dict[str, Any] = {**head, "teacher": who.aliases[0], "model": who.display, "prompt": prompt}
    row["response"] = essay.text
    if config.generations > 1:
        row["generation"] = generation
    return json.dumps(row | {"synthetic": True, "seed": config.seed}, ensure_ascii=False) + "\n"


def _origin(shared: bool) -> str:
    return "shared" if shared else "private"


def _treated(named: tuple[str, ...], errors: Errors, i: int, u: int) -> tuple[str, ...]:
    """The prompted diseases in the order of the teacher's plan."""
    first = {d: min(errors.slot[i, u, k] for k, c in enumerate(concepts()) if c.label == d) for d in named}
    return tuple(sorted(named, key=lambda d: first[d]))


def _plan(
    world: World, s: int, at: tuple[int, int, int], drawn: tuple[Errors, Decisions, Any]
) -> tuple[list[Assertion], list[Assertion]]:
    """What one trajectory asserts, in the order of its plan, and what it misses."""
    (i, g, u), (errors, decisions, prompted) = at, drawn
    kinds, slots = decisions.kind[i, g, u], errors.slot[i, u]
    said: list[Assertion] = []
    missed: list[Assertion] = []
    for c in sorted((kinds != NOTHING).nonzero()[0], key=lambda c: slots[c]):
        kind, truth = int(kinds[c]), int(world.side[s, c])
        outcome = _OUTCOME.get(kind, "right")
        origin = "none" if outcome == "right" else _origin(bool(decisions.shared[i, g, u, c]))
        hedged = bool(decisions.hedged[i, g, u, c])
        status = "absent" if kind in (FLIPPED_STATUS, NEGATED) else "uncertain" if hedged else "present"
        side = truth if kind == MISSED else int(decisions.side[i, g, u, c])
        zone = int(world.zone[s, c])
        if kind == INVENTED and concepts()[c].zones:
            zone = _zone(str(world.dicom_id[world.instance[i]]), int(c))
        claim = Claim(int(c), status, side, zone, int(world.level[s, c]) if world.present[s, c] else 1)
        one = Assertion(claim, outcome, origin, bool(prompted[i, c]), float(slots[c]), truth)
        (missed if kind == MISSED else said).append(one)
    return said, missed


def _zone(dicom: str, c: int) -> int:
    """Zone of an invention: the same for all teachers that invent it."""
    zones = concepts()[c].zones
    return ZONES.index(Random(f"{dicom}/{c}").choices(list(zones), list(zones.values()))[0])
