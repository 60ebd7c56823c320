"""What the teacher-drift tasks share: does a student drift as its teachers do, and does it hold their errors unlikely.

Inheritance: the student answers for every image of the release's test split, and its rate of each drift event stands
beside the rate expected of the mixture of teachers on the same images; grading also puts it into a drift report as one
more teacher. Suppression (with `--truth`, on synthetic data): at places where a teacher went wrong, the likelihood of
the wrong clause against that of its corrected twin, after the teacher's own text up to there.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cxr_max import drift, findings, mimic
from cxr_max.data import Release, open_release
from cxr_max.drift.sources import TextTables
from cxr_max.errors import DataError, MissingFileError
from cxr_max.evaluation import ask, metrics
from cxr_max.evaluation.continuation import Begun
from cxr_max.evaluation.metrics.drift_events import Reference
from cxr_max.evaluation.types import Context, Item, Measure, Output, Sample
from cxr_max.findings.model import Role
from cxr_max.roots import MIMIC_ROOTS

SPLIT = "test"
STUDENT = "student"
WRONG = ("flipped_side", "flipped_status", "invented")
"""Outcomes of the truth that stand in the text, with a corrected twin; a finding that was missed stands nowhere."""
HEADLINE = ("contradiction_inherited", "invented_finding_inherited", "omission_inherited", "log_ratio")
"""What students are compared on first: what they pass on beyond their teachers' mixture, and suppression."""
RULES = "rules"
"""Name of our own extractor in signatures."""
_MARKS = ("<think>", "</think>")


class Planted(NamedTuple):
    """A wrong clause of a teacher: what kind of error it is, and whether other teachers share it."""

    outcome: str
    origin: str


def items(context: Context, question: str | None) -> list[Item]:
    """Questions on every image of the test split, and, where a truth folder is given, on every wrong clause.

    Args:
        context: a release, MIMIC-CXR roots, and perhaps the truth folder of the world.
        question: what is asked of every image; None asks what the teachers were asked, diagnoses included.

    Raises:
        MissingFileError: no release, no MIMIC-CXR root, or no truth at the place that is given.
        DataError: the release has no test split, or the truth belongs to another world.
    """
    if context.release is None:
        raise MissingFileError("this task needs a release", next="--release DIR (cxr-max build makes one)")
    release = open_release(context.release)
    places = context.paths(*MIMIC_ROOTS)
    if not places:
        raise MissingFileError("this task needs images and reports", next="--mimic-root PATH; see cxr-max roots show")
    rows = _rows(release, mimic.join(release, mimic.open_root(*places)), question)
    if not rows:
        raise DataError(f"the release holds no instance of the {SPLIT} split")
    whole = ask.limited([_item(r) for r in rows.values()], context.limit)
    if context.truth is None:
        return whole
    planted = list(_planted(rows, release, context.truth / "assertions.parquet"))
    if not planted:
        raise DataError(
            "no wrong clause of the truth stands where it says in a trajectory of the release",
            next="--truth with the truth folder of the world the release was built from",
        )
    return whole + ask.limited(planted, context.limit)


def _rows(release: Release, joined: Any, question: str | None) -> dict[str, dict[str, Any]]:
    ids = release.scan("instances").filter(pl.col("split") == SPLIT)
    ids = ids.select("instance_id", "subject_id", "diseases").collect().sort("instance_id")
    images = joined.scan("images").filter(pl.col("path").is_not_null()).collect()
    paths = dict(images.group_by("instance_id", maintain_order=True).agg("path").iter_rows())
    reports = reports_of(joined)
    texts = release.scan("trajectories").filter(pl.col("instance_id").is_in(ids["instance_id"].implode()))
    texts = texts.select("instance_id", "teacher", "generation", "prompt", "trajectory").collect()
    by_instance = texts.sort("instance_id", "teacher", "generation").partition_by("instance_id", as_dict=True)
    return {
        i: {
            "id": i,
            "patient": str(subject),
            "images": tuple(map(Path, paths.get(i, ()))),
            "report": reports.get(i, ""),
            "diseases": tuple(diseases) if question is None else (),
            "prompt": by_instance[i,]["prompt"][0] if question is None else question,
            "teachers": tuple(by_instance[i,]["trajectory"]),
        }
        for i, subject, diseases in ids.iter_rows()
        if (i,) in by_instance
    }


def reports_of(joined: Any) -> dict[str, str]:
    """Instance to its report: findings, then impression; empty where it has neither."""
    (told,) = mimic.tables.collect(joined.scan("references").select("instance_id", "findings", "impression"))
    return {i: "\n\n".join(filter(None, sections)) for i, *sections in told.iter_rows()}


def _item(row: dict[str, Any]) -> Item:
    sample = Sample(row["id"], row["prompt"], row["images"], (), row["patient"], row["diseases"])
    # Without a report nothing can be a flip or an invention: counted, not asked.
    return Item(sample, Reference(row["report"], row["teachers"]), asked=bool(row["report"].strip()))


def _planted(rows: dict[str, dict[str, Any]], release: Release, truth: Path) -> Iterator[Item]:
    if not truth.is_file():
        raise MissingFileError(f"no {truth.name} in {truth.parent}", next="--truth DIR/truth of cxr-max synth")
    keys = ["instance_id", "teacher", "generation"]
    wrong = pl.read_parquet(truth).filter(
        pl.col("outcome").is_in(WRONG) & pl.col("twin").is_not_null() & pl.col("instance_id").is_in(list(rows))
    )
    texts = release.scan("trajectories").select(*keys, "trajectory").collect()
    joined = wrong.join(texts, on=keys).sort(*keys, "start").unique([*keys, "start"], keep="first", maintain_order=True)
    for row in joined.iter_rows(named=True):
        about, text = rows[row["instance_id"]], row["trajectory"]
        if text[row["start"] : row["end"]] != row["clause"]:
            continue
        # The text before it is part of the question, so of its identity.
        digest = hashlib.sha256(text[: row["start"]].encode()).hexdigest()[:12]
        name = "/".join(str(row[k]) for k in (*keys, "start")) + f"/{digest}"
        sample = Begun(
            name, about["prompt"], about["images"], (row["clause"], row["twin"]), about["patient"], about["diseases"],
            prefix=text[: row["start"]],
        )  # fmt: skip
        yield Item(sample, Planted(row["outcome"], row["origin"]), group=row["outcome"])


def measures(questions: Sequence[Item]) -> list[Measure]:
    """Inheritance over all images; suppression over all wrong clauses, by kind of error, and of errors shared."""
    asked = [i for i in questions if i.asked and not _begun(i)]
    silent = sum(not _begun(i) and not i.asked for i in questions)
    planted = [i for i in questions if _begun(i)]
    found = []
    if asked:
        stats = metrics.get("drift_events").statistics(
            predictions=[plain(i.text) for i in asked], references=[i.target for i in asked]
        )
        notes = {**ask.counts(asked), "missing_report": silent}
        found.append(Measure("drift_events", "all", stats, ask.patients_of(asked), notes=notes))
        stats = metrics.get("claims").statistics(
            predictions=[claims(plain(i.text)) for i in asked],
            references=[claims(i.target.report, role="reference") for i in asked],
        )
        profile = f"extractor {RULES} v{findings.LEXICON_VERSION}, report"
        found.append(Measure("claims", "all", stats, ask.patients_of(asked), profile=profile, notes=notes))
        stats = metrics.get("style").statistics(predictions=[plain(i.text) for i in asked], references=())
        found.append(Measure("style", "all", stats, ask.patients_of(asked), notes=notes))
    groups = {"all": planted} | {o: [i for i in planted if i.target.outcome == o] for o in WRONG}
    groups["shared by teachers"] = [i for i in planted if i.target.origin == "shared"]
    for group, mine in groups.items():
        if mine:
            stats = metrics.get("suppression").statistics(predictions=list(map(_pair, mine)), references=mine)
            scored = sum(_pair(i) is None for i in mine)
            notes = {"n": len(mine), "failed": scored}
            found.append(Measure("suppression", group, stats, ask.patients_of(mine), averaged=False, notes=notes))
    return found


def claims(text: str, *, role: Role = "candidate") -> frozenset[tuple[str, str | None]]:
    """(label, side) of what a text affirms by our rules, uncertain counts as present; "No Finding" is none."""
    read = findings.extract(text, role=role).findings
    return frozenset((f.label, f.side) for f in read if f.label not in (None, "No Finding") and f.status != "absent")


def plain(text: str) -> str:
    """An answer without the marks that template `diagnose` puts around its reasoning."""
    for mark in _MARKS:
        text = text.replace(mark, "\n")
    return text.strip()


def _begun(item: Item) -> bool:
    return isinstance(item.sample, Begun)


def _pair(item: Item) -> tuple[float, float] | None:
    scores = item.output.scores if isinstance(item.output, Output) else None
    return None if scores is None or len(scores) != len(item.sample.options) else (scores[0], scores[1])


def write(questions: Sequence[Item], context: Context, out: Path, *, draws: int, seed: int) -> None:
    """Write the drift report of the images that were asked, with the student as one more teacher, to `out`.

    Answers that failed are left out, as trajectories that are not there.

    Args:
        questions: with answers; nothing is written without any.
        context: of the run.
        out: folder; what an earlier grading wrote there is replaced.
        draws: bootstrap draws.
        seed: of everything random.
    """
    rows = {
        i.sample.id: plain(i.output.text)
        for i in questions
        if not _begun(i) and isinstance(i.output, Output)
    }  # fmt: skip
    if not rows or context.release is None:
        return
    release = open_release(context.release)
    joined = mimic.join(release, mimic.open_root(*context.paths(*MIMIC_ROOTS)))
    mine = pl.col("instance_id").is_in(list(rows))
    columns = ("instance_id", "teacher", "generation", "trajectory", "n_words", "n_steps", "refusal")
    theirs = release.scan("trajectories").filter(mine).select(columns).collect()
    student = pl.DataFrame({"instance_id": list(rows), "trajectory": list(rows.values())}).with_columns(
        teacher=pl.lit(STUDENT), generation=0, n_steps=None, refusal=None,
        n_words=pl.col("trajectory").str.count_matches(r"\S+"),
    )  # fmt: skip
    student = student.select(pl.col(n).cast(t) for n, t in theirs.schema.items())
    unread = theirs.with_columns(n_steps=pl.lit(None, theirs.schema["n_steps"]), refusal=pl.lit(None, pl.Boolean))
    tables = {
        "instances": release.scan("instances").filter(mine).collect(),
        "trajectories": pl.concat([unread, student]),
        "references": joined.scan("references").filter(mine).collect(),
    }
    report = drift.report(TextTables(tables, dict(joined.manifest)), draws=draws, seed=seed)
    drift.write(report, out, overwrite=True)
