"""A release in the formats that trainers read: ms-swift, TRL, LLaMA-Factory, CSV.

With a preferences table the export is preference data, else (or with `what="sft"`) supervised data, one row per
trajectory. Formats that know one rejected answer a row get one row per pair; the result says so.

- ms-swift: JSON Lines of `messages`, `images`, `rejected_response`; more keys, which it drops, let `cxr-max build`
  read the file again.
- trl: Parquet of `prompt`, `chosen`, `rejected` (or `messages`) as message lists with `{"type": "image"}`, and `images`
  with the Image feature, so that `load_dataset("parquet", data_files=FILE)` goes into a trainer unchanged.
- llama-factory: JSON Lines of `conversations`, `chosen`, `rejected`, `images`, and `dataset_info.json` beside it.
- csv: one row per pair or trajectory, lists joined by `;`.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.swap import draft_file
from cxr_max.errors import DataError, UnknownNameError, UsageError
from cxr_max.folders import is_restricted, refuse_git
from cxr_max.schema import canonical_split

_BATCH = 1_024


@dataclass(frozen=True)
class ExportConfig:
    """What is exported and how.

    Attributes:
        format: ms-swift, trl, llama-factory or csv.
        out: the new file.
        what: preferences, sft, or auto (preferences when the release holds them).
        strategy: consensus strategy, when the preferences were made by several.
        split: one split in any spelling, or None for all.
        image_root: folder that holds MIMIC's `files/`; without, image paths are relative to it.
        overwrite: replace the file.
    """

    format: str
    out: Path
    what: str = "auto"
    strategy: str | None = None
    split: str | None = None
    image_root: Path | None = None
    overwrite: bool = False


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        rows: rows in it.
        groups: instances (preferences) or trajectories (sft) they come from.
        skipped: rows left out since they have no image id.
        notes: what the user should know, one sentence each.
    """

    path: Path
    rows: int
    groups: int
    skipped: int
    notes: list[str]


class Example(NamedTuple):
    """One row of any format: an image question, an answer, and the rejected answer of a pair."""

    images: list[str]
    prompt: str
    answer: str
    rejected: str | None
    keys: dict[str, Any]


def export(release: ReleaseFolder, config: ExportConfig) -> Exported:
    """Write one file.

    Raises:
        UnknownNameError: unknown format.
        UsageError: the file exists, a strategy has to be named, or the suffix does not fit.
        DataError: nothing is left to write.
        RestrictedDataError: real data inside a git work tree.
    """
    if config.format not in _WRITERS:
        raise UnknownNameError.of("format", config.format, _WRITERS)
    suffixes, write = _WRITERS[config.format]
    if config.out.suffix not in suffixes:
        raise UsageError(f"{config.out.name}: {config.format} is written as {' or '.join(suffixes)}")
    if config.out.exists() and not config.overwrite:
        raise UsageError(f"{config.out} exists", next="choose another file or pass --overwrite")
    if is_restricted(release.synthetic):
        refuse_git(config.out)
    counted = _Counted()
    pairs = _wants_pairs(release, config)
    examples = counted.watch(_pairs(release, config) if pairs else _answers(release, config))
    with draft_file(config.out) as draft:
        write(draft, examples, pairs)
        if not counted.rows:
            raise DataError("nothing to export", next="check --split and --strategy")
    if config.format == "llama-factory":
        _write_info(config.out, pairs)
    return Exported(config.out, counted.rows, len(counted.groups), counted.skipped, _notes(config, counted, pairs))


class _Counted:
    """Counts examples on their way to the file and leaves out those without an image."""

    def __init__(self) -> None:
        self.rows = self.skipped = 0
        self.groups: set[tuple[Any, ...]] = set()

    def watch(self, examples: Iterator[Example]) -> Iterator[Example]:
        for example in examples:
            if not example.images:
                self.skipped += 1
                continue
            self.rows += 1
            self.groups.add((example.keys["instance_id"], example.keys.get("strategy", example.keys["teacher"])))
            yield example


def _notes(config: ExportConfig, counted: _Counted, pairs: bool) -> list[str]:
    notes = []
    if pairs and counted.rows > len(counted.groups):
        notes.append(
            f"{config.format} knows one rejected answer a row: {len(counted.groups):,} groups of one chosen and N "
            f"rejected became {counted.rows:,} pairs; a loss over pairs is not the loss over groups"
        )
    if config.image_root is None:
        notes.append("image paths are relative to the folder that holds MIMIC's files/; --image-root makes them whole")
    if counted.skipped:
        notes.append(f"{counted.skipped:,} rows have no image id (studies without one) and are left out")
    return notes


def _wants_pairs(release: ReleaseFolder, config: ExportConfig) -> bool:
    if config.what not in ("auto", "preferences", "sft"):
        raise UnknownNameError.of("kind of export", config.what, ("auto", "preferences", "sft"))
    has = "preferences" in release.tables
    if config.what == "preferences" and not has:
        raise UsageError("the release holds no preferences", next="cxr-max consensus RELEASE --strategy vote ...")
    if has and config.what != "sft" and config.strategy is None:
        made = sorted(release.scan("preferences").select("strategy").unique().collect()["strategy"])
        if len(made) > 1:
            raise UsageError(f"the preferences were made by {', '.join(made)}", next=f"--strategy {made[0]}")
    return has and config.what != "sft"


def _instances(release: ReleaseFolder, config: ExportConfig) -> pl.DataFrame:
    scan = release.scan("instances").select("instance_id", "subject_id", "study_id", "dicom_ids", "split")
    if config.split is not None:
        scan = scan.filter(pl.col("split") == canonical_split(config.split))
    return scan.collect()


def _rows(release: ReleaseFolder, table: str, config: ExportConfig) -> Iterator[dict[str, Any]]:
    """Rows of a table with the ids of their instance, shard by shard, in the order of keys."""
    instances = _instances(release, config)
    known = set(release.table(table).names)
    extra = instances.select("instance_id", *(c for c in instances.columns if c not in known))
    for file in release.files(table, config.split):
        frame = pl.read_parquet(file).join(extra, on="instance_id").sort(release.table(table).keys)
        yield from frame.iter_rows(named=True)


def _pairs(release: ReleaseFolder, config: ExportConfig) -> Iterator[Example]:
    for row in _rows(release, "preferences", config):
        if config.strategy is not None and row["strategy"] != config.strategy:
            continue
        for rejected in row["rejected"]:
            keys = {k: row[k] for k in ("instance_id", "split", "strategy")}
            keys |= {"teacher": rejected["teacher"], "generation": rejected["generation"]}
            yield Example(_images(row, config), row["prompt"], row["chosen"], rejected["trajectory"], keys)


def _answers(release: ReleaseFolder, config: ExportConfig) -> Iterator[Example]:
    for row in _rows(release, "trajectories", config):
        keys = {k: row[k] for k in ("instance_id", "split", "teacher", "generation")}
        yield Example(_images(row, config), row["prompt"], row["trajectory"], None, keys)


def _images(row: Mapping[str, Any], config: ExportConfig) -> list[str]:
    subject = f"p{row['subject_id']}"
    folder = f"files/{subject[:3]}/{subject}/s{row['study_id']}"
    paths = [f"{folder}/{dicom}.jpg" for dicom in row["dicom_ids"]]
    return [str(config.image_root.absolute() / p) for p in paths] if config.image_root else paths


def _write_swift(path: Path, examples: Iterator[Example], pairs: bool) -> None:
    with path.open("w", encoding="utf-8") as file:
        for e in examples:
            row: dict[str, Any] = {
                "messages": [
                    {"role": "user", "content": "<image>" * len(e.images) + e.prompt},
                    {"role": "assistant", "content": e.answer},
                ],
                "images": e.images,
            }
            if pairs:
                row["rejected_response"] = e.rejected
            file.write(json.dumps(row | e.keys, ensure_ascii=False) + "\n")


def _write_llama_factory(path: Path, examples: Iterator[Example], pairs: bool) -> None:
    with path.open("w", encoding="utf-8") as file:
        for e in examples:
            human = {"from": "human", "value": "<image>" * len(e.images) + e.prompt}
            answer = {"from": "gpt", "value": e.answer}
            row: dict[str, Any] = {"conversations": [human] if pairs else [human, answer], "images": e.images}
            if pairs:
                row |= {"chosen": answer, "rejected": {"from": "gpt", "value": e.rejected}}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_info(out: Path, pairs: bool) -> None:
    """Add the file to the `dataset_info.json` beside it, which LLaMA-Factory looks files up in."""
    place = out.with_name("dataset_info.json")
    try:
        known = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    except ValueError as e:
        raise DataError(f"{place} is not valid JSON, so {out.name} is not entered there") from e
    columns = {"messages": "conversations", "images": "images"}
    entry: dict[str, Any] = {"file_name": out.name, "formatting": "sharegpt", "columns": columns}
    if pairs:
        entry |= {"ranking": True, "columns": columns | {"chosen": "chosen", "rejected": "rejected"}}
    with draft_file(place) as draft:
        draft.write_text(json.dumps(known | {out.stem: entry}, indent=2) + "\n", encoding="utf-8")


_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_PART))]))
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_PART_FEATURE = {n: {"dtype": "string", "_type": "Value"} for n in ("type", "text")}
_MESSAGES_FEATURE = [{"role": {"dtype": "string", "_type": "Value"}, "content": [_PART_FEATURE]}]


def _write_trl(path: Path, examples: Iterator[Example], pairs: bool) -> None:
    names = ("prompt", "chosen", "rejected") if pairs else ("messages",)
    # Written in the form that every version of `datasets` reads, so that images are images when the file is loaded.
    features = {"images": [{"_type": "Image"}]} | dict.fromkeys(names, _MESSAGES_FEATURE)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("images", _IMAGES), *((n, _MESSAGES) for n in names)], metadata=metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for example in examples:
            batch.append(_trl_row(example, pairs))
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _trl_row(e: Example, pairs: bool) -> dict[str, Any]:
    placeholders: list[dict[str, str]] = [{"type": "image"} for _ in e.images]
    question = [{"role": "user", "content": [*placeholders, {"type": "text", "text": e.prompt}]}]
    answer, rejected = (
        [{"role": "assistant", "content": [{"type": "text", "text": t}]}] for t in (e.answer, e.rejected or "")
    )
    images = [{"bytes": None, "path": p} for p in e.images]
    if pairs:
        return {"images": images, "prompt": question, "chosen": answer, "rejected": rejected}
    return {"images": images, "messages": question + answer}


def _write_csv(path: Path, examples: Iterator[Example], pairs: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        answers = ("chosen", "rejected") if pairs else ("trajectory",)
        keys = ("instance_id", "split", *(("strategy",) if pairs else ()), "teacher", "generation")
        writer = csv.writer(file)
        writer.writerow((*keys, "images", "prompt", *answers))
        for e in examples:
            texts = (e.answer, e.rejected) if pairs else (e.answer,)
            writer.writerow((*(e.keys[k] for k in keys), ";".join(e.images), e.prompt, *texts))


Writer = Callable[[Path, Iterator[Example], bool], None]

_WRITERS: dict[str, tuple[tuple[str, ...], Writer]] = {
    "ms-swift": ((".jsonl",), _write_swift),
    "trl": ((".parquet",), _write_trl),
    "llama-factory": ((".jsonl",), _write_llama_factory),
    "csv": ((".csv",), _write_csv),
}
FORMATS: tuple[str, ...] = tuple(_WRITERS)
