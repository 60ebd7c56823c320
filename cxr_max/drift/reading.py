"""Tables or texts to arrays: the findings and steps of trajectories and references."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import polars as pl

from cxr_max import findings
from cxr_max.drift import lexical, sources
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import OTHER_TOPIC, SUMMARY_TOPIC, Encoded, Findings, Steps, Vocabulary, side_code
from cxr_max.drift.stages import Store
from cxr_max.findings.model import ZONES
from cxr_max.progress import track
from cxr_max.schema import FINDINGS, SIDES, STATUSES, Scannable

_FOLDED = {name.casefold(): i for i, name in enumerate(FINDINGS)}
_SUMMARY = re.compile(
    r"(?:in )?(?:summary|conclusions?|impression|overall|final|bottom line|takeaway)\b", re.IGNORECASE
)
Columns = TypeVar("Columns", Findings, Steps)
Role = Literal["candidate", "reference"]
COLUMNS = ("concept", "status", "side", "zone")


class Extracted(NamedTuple):
    """Findings of many texts, their steps, and which of them assert nothing about the image."""

    findings: Findings
    steps: Steps
    refusal: dict[int, bool]
    n_steps: dict[int, int]


def vocabulary_of(data: Scannable, teachers: tuple[str, ...]) -> Vocabulary:
    """The lexicon's concepts, and any other concept or zone a stored findings table names."""
    lexicon = findings.concepts()
    ids, zones = list(lexicon), list(ZONES)
    label = {c: lexicon[c].label for c in ids}
    stored = sources.scan(data, "findings")
    if stored is not None:
        for concept, name in stored.select("concept", "label").unique().sort("concept").collect().iter_rows():
            if concept not in label:
                ids.append(concept)
                label[concept] = name
        more = stored.select(pl.col("zone").unique()).collect()["zone"].drop_nulls().sort().to_list()
        zones += [z for z in more if z not in zones]
    place = {c: k for k, c in enumerate(ids)}
    return Vocabulary(
        tuple(ids),
        tuple(FINDINGS.index(name) if (name := label[c]) in FINDINGS else -1 for c in ids),
        tuple(place.get(lexicon[c].parent or "", -1) if c in lexicon else -1 for c in ids),
        tuple(zones),
        teachers,
    )


def encode(
    data: Scannable,
    config: Config,
    *,
    shard: tuple[int, int] = (0, 1),
    fresh: bool = False,
    store: Store | None = None,
) -> Encoded:
    """A release, or one shard of it, as arrays.

    Args:
        data: a release or a join; with a table `references` everything that needs a report can be computed.
        config: selection, similarity, processes.
        shard: number of this shard and of all shards; `merge` puts them together.
        fresh: extract findings from the texts even where the release holds them (one lexicon for two releases).
        store: where a run that may be killed keeps what was extracted; nowhere when None.

    Raises:
        DataError: a needed table is missing or nothing is left.
    """
    frames = sources.read_frames(data, config, shard=shard)
    vocabulary = vocabulary_of(data, frames.teachers)
    prompted_L, prompted_K = _prompted(frames.instances["diseases"].to_list(), vocabulary)
    found, steps, refusal_T, steps_T = _candidates(data, frames, vocabulary, config, None if fresh else data, store)
    instance_T = frames.trajectories["i"].to_numpy().astype(np.int64)
    steps = _only_prompted(steps, prompted_L[instance_T])
    sections, reference = _references(data, frames, vocabulary, config)
    diseases = [sorted(d or []) for d in frames.instances["diseases"].to_list()]
    place = {u: k for k, u in enumerate(frames.teachers)}
    return Encoded(
        vocabulary=vocabulary,
        instance_id=np.array(frames.instances["instance_id"].to_list(), dtype=object),
        patient_I=frames.instances["subject_id"].to_numpy().astype(np.int64),
        study_I=frames.instances["study_id"].to_numpy().astype(np.int64),
        split_I=np.array(frames.instances["split"].fill_null("").to_list(), dtype=object),
        view_I=np.array(frames.instances["view"].fill_null("").to_list(), dtype=object),
        prompted_IL=prompted_L,
        prompted_IK=prompted_K,
        n_diseases_I=np.array([len(d) for d in diseases], dtype=np.int64),
        diseases_I=np.array([";".join(d) for d in diseases], dtype=object),
        sections_I2=sections,
        instance_T=instance_T,
        teacher_T=np.array([place[u] for u in frames.trajectories["teacher"].to_list()], dtype=np.int64),
        generation_T=frames.trajectories["generation"].to_numpy().astype(np.int64),
        words_T=frames.trajectories["n_words"].to_numpy().astype(np.int64),
        steps_T=steps_T,
        refusal_T=refusal_T,
        findings=found,
        steps=steps,
        reference=reference,
        similarity_T=lexical.similarities(data, frames, config),
        shard=shard[0],
    )


def _candidates(
    data: Scannable,
    frames: sources.Frames,
    vocabulary: Vocabulary,
    config: Config,
    tables: Scannable | None,
    store: Store | None,
) -> tuple[Findings, Steps, Any, Any]:
    """Findings, steps, refusals and numbers of steps: of the tables where they hold them, else from the texts."""
    n_T = len(frames.trajectories)
    refusal, n_steps = frames.trajectories["refusal"].to_list(), frames.trajectories["n_steps"].to_list()
    stored = None if tables is None else sources.scan(tables, "findings")
    step_table = None if tables is None else sources.scan(tables, "steps")
    if stored is not None and step_table is not None:
        found, steps = _stored_findings(stored, frames, vocabulary), _stored_steps(step_table, frames)
        silent = np.bincount(found.row, minlength=n_T) == 0
        refusal_T = np.array([bool(silent[t]) if r is None else r for t, r in enumerate(refusal)], dtype=bool)
        counted = np.bincount(steps.row, minlength=n_T)
        steps_T = np.array([counted[t] if n is None else n for t, n in enumerate(n_steps)], dtype=np.int64)
        return found, steps, refusal_T, steps_T
    extracted = _extract_trajectories(data, frames, vocabulary, config, store or Store())
    refusal_T = np.array([extracted.refusal.get(t, True) for t in range(n_T)], dtype=bool)
    steps_T = np.array([extracted.n_steps.get(t, 0) for t in range(n_T)], dtype=np.int64)
    return extracted.findings, extracted.steps, refusal_T, steps_T


def _prompted(diseases: Sequence[Sequence[str] | None], vocabulary: Vocabulary) -> tuple[Any, Any]:
    """Labels and concepts the prompts name."""
    by_name: dict[str, tuple[set[int], set[int]]] = {}
    place = {c: k for k, c in enumerate(vocabulary.concepts)}
    labels = np.zeros((len(diseases), len(FINDINGS)), dtype=bool)
    concepts = np.zeros((len(diseases), len(vocabulary.concepts)), dtype=bool)
    for i, names in enumerate(diseases):
        for name in names or ():
            if name not in by_name:
                said = findings.extract(f"{name}.").findings
                ks = {place[f.concept] for f in said if f.concept in place}
                ls = {vocabulary.label_K[k] for k in ks} - {-1}
                by_name[name] = (ls | ({_FOLDED[name.casefold()]} if name.casefold() in _FOLDED else set()), ks)
            labels[i, list(by_name[name][0])] = True
            concepts[i, list(by_name[name][1])] = True
    return labels, concepts


def _codes(column: str, names: Sequence[str], first: int) -> pl.Expr:
    """Names to codes from `first`; null and unknown become 0 where 0 means none, else -1."""
    codes = list(range(first, first + len(names)))
    code = pl.col(column).replace_strict(list(names), codes, default=None, return_dtype=pl.Int16)
    return code.fill_null(0 if first else -1)


def _stored_findings(stored: pl.LazyFrame, frames: sources.Frames, vocabulary: Vocabulary) -> Findings:
    index = frames.trajectories.lazy().select("t", *sources.KEYS)
    rows = (
        stored.select(*sources.KEYS, "i", "step", *COLUMNS)
        .join(index, on=sources.KEYS)
        .select(
            "t",
            "i",
            pl.col("step").cast(pl.Int16).fill_null(-1),
            _codes("concept", vocabulary.concepts, 0),
            _codes("status", STATUSES, 0),
            _codes("side", SIDES, 1),
            _codes("zone", vocabulary.zones, 1),
        )
        .sort("t", "i")
        .collect(engine="streaming")
    )
    return Findings(rows["t"].to_numpy().astype(np.int64), *(rows[c].to_numpy() for c in ("step", *COLUMNS)))


def _stored_steps(stored: pl.LazyFrame, frames: sources.Frames) -> Steps:
    headings = stored.select(pl.col("section").unique()).collect()["section"].drop_nulls().to_list()
    topics = {h: topic_of(h) for h in headings}
    code = pl.lit(OTHER_TOPIC, pl.Int16)
    if topics:
        code = pl.col("section").replace_strict(
            list(topics), list(topics.values()), default=OTHER_TOPIC, return_dtype=pl.Int16
        )
    rows = (
        stored.select(*sources.KEYS, "step", "section", "generic")
        .join(frames.trajectories.lazy().select("t", *sources.KEYS), on=sources.KEYS)
        .select("t", pl.col("step").cast(pl.Int16), "generic", code.fill_null(OTHER_TOPIC).alias("topic"))
        .sort("t", "step")
        .collect(engine="streaming")
    )
    return Steps(rows["t"].to_numpy().astype(np.int64), *(rows[c].to_numpy() for c in ("step", "generic", "topic")))


def topic_of(heading: str) -> int:
    """The label a heading names, SUMMARY_TOPIC for a summary, else OTHER_TOPIC."""
    if _SUMMARY.match(heading.strip()):
        return SUMMARY_TOPIC
    named = [f.label for f in findings.extract(f"{heading}.").findings if f.label]
    return FINDINGS.index(named[0]) if named else _FOLDED.get(heading.casefold().strip(), OTHER_TOPIC)


def _only_prompted(steps: Steps, prompted_TL: Any) -> Steps:
    """A topic counts only where the prompt names it."""
    padded = np.column_stack([prompted_TL, np.ones((len(prompted_TL), 2), dtype=bool)])
    topic = np.where(padded[steps.row, steps.topic], steps.topic, OTHER_TOPIC).astype(np.int16)
    return steps._replace(topic=topic)


def extract_texts(
    rows: Sequence[int], written: Sequence[str], vocabulary: Vocabulary, role: Role, jobs: int
) -> Extracted:
    """Findings and steps of texts, owned by the given rows."""
    place = {c: k for k, c in enumerate(vocabulary.concepts)}
    zone = {z: k + 1 for k, z in enumerate(vocabulary.zones)}
    status = {s: k for k, s in enumerate(STATUSES)}
    topics: dict[str | None, int] = {None: OTHER_TOPIC}
    found: list[tuple[int, ...]] = []
    steps: list[tuple[int, int, bool, int]] = []
    refusal, n_steps = {}, {}
    for row, extraction in zip(rows, findings.extract_many(written, role=role, jobs=jobs), strict=True):
        starts = [s.start for s in extraction.steps]
        for f in extraction.findings:
            step = bisect_right(starts, f.start) - 1
            found.append(
                (row, step, place[f.concept], status[f.status], side_code(f.side), zone[f.zone] if f.zone else 0)
            )
        for j, s in enumerate(extraction.steps):
            if s.section not in topics:
                topics[s.section] = topic_of(s.section or "")
            steps.append((row, j, s.generic, topics[s.section]))
        refusal[row], n_steps[row] = extraction.refusal, len(extraction.steps)
    f_columns = np.array(found, dtype=np.int64).reshape(-1, 6).T
    s_columns = np.array(steps, dtype=np.int64).reshape(-1, 4).T
    return Extracted(
        Findings(f_columns[0], *(c.astype(np.int16) for c in f_columns[1:])),
        Steps(s_columns[0], s_columns[1].astype(np.int16), s_columns[2].astype(bool), s_columns[3].astype(np.int16)),
        refusal,
        n_steps,
    )


def _extract_trajectories(
    data: Scannable, frames: sources.Frames, vocabulary: Vocabulary, config: Config, store: Store
) -> Extracted:
    parts = []
    batches = track(sources.texts(data, frames), "extracting findings", total=sources.batches(data))
    for k, (rows, written) in enumerate(batches):

        def made(rows: list[int] = rows, written: list[str] = written) -> dict[str, Any]:
            return _columns(extract_texts(rows, written, vocabulary, "candidate", config.jobs))

        parts.append(_extracted(store.arrays(f"extracted-{k}", made)))
    if not parts:
        return extract_texts([], [], vocabulary, "candidate", 1)
    return Extracted(
        _in_order(Findings, [p.findings for p in parts]),
        _in_order(Steps, [p.steps for p in parts]),
        {t: r for p in parts for t, r in p.refusal.items()},
        {t: n for p in parts for t, n in p.n_steps.items()},
    )


def _columns(part: Extracted) -> dict[str, Any]:
    rows = np.array(list(part.refusal), dtype=np.int64)
    columns = {"row": rows, "refusal": np.array(list(part.refusal.values()), dtype=bool)}
    columns["n_steps"] = np.array([part.n_steps[int(t)] for t in rows], dtype=np.int64)
    columns |= {f"findings.{k}": c for k, c in part.findings._asdict().items()}
    return columns | {f"steps.{k}": c for k, c in part.steps._asdict().items()}


def _extracted(columns: Any) -> Extracted:
    rows = columns["row"].tolist()
    return Extracted(
        Findings(*(columns[f"findings.{k}"] for k in Findings._fields)),
        Steps(*(columns[f"steps.{k}"] for k in Steps._fields)),
        dict(zip(rows, columns["refusal"].tolist(), strict=True)),
        dict(zip(rows, columns["n_steps"].tolist(), strict=True)),
    )


def _in_order(kind: type[Columns], parts: Sequence[Columns]) -> Columns:
    """Parts put together and sorted by row: files need not be in the order of the frames."""
    columns: list[Any] = [np.concatenate(c) for c in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return kind(*(c[order] for c in columns))


def _references(
    data: Scannable, frames: sources.Frames, vocabulary: Vocabulary, config: Config
) -> tuple[Any, tuple[Findings, Findings]]:
    """Which sections each instance's report has, and the findings of both; each study's text is read once."""
    n = len(frames.instances)
    sections = np.zeros((n, 2), dtype=bool)
    table = sources.scan(data, "references")
    empty = extract_texts([], [], vocabulary, "reference", 1).findings
    if table is None:
        return sections, (empty, empty)
    rows = (
        table.select("instance_id", "findings", "impression")
        .join(frames.instances.lazy().select("i", "instance_id"), on="instance_id")
        .sort("i")
        .collect()
    )
    parts = []
    for s, name in enumerate(("findings", "impression")):
        known = rows.filter(pl.col(name).str.strip_chars().str.len_chars() > 0)
        sections[known["i"].to_numpy(), s] = True
        unique = known.select(pl.col(name).unique(maintain_order=True))[name]
        extracted = extract_texts(range(len(unique)), unique.to_list(), vocabulary, "reference", config.jobs)
        owner = known.select("i", pl.col(name).replace_strict(unique, pl.Series(range(len(unique)))).alias("row"))
        found = extracted.findings
        pairs = pl.DataFrame({"row": found.row, "place": np.arange(len(found.row))}).join(
            owner.with_columns(pl.col("row").cast(pl.Int64)), on="row"
        )
        pairs = pairs.sort("i", "place")
        place = pairs["place"].to_numpy()
        parts.append(Findings(pairs["i"].to_numpy().astype(np.int64), *(c[place] for c in found[1:])))
    return sections, (parts[0], parts[1])
