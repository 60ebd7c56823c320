"""The dataset card of a release: README.md with the YAML that lets plain `datasets` load every table.

Rendered from the manifest and the schema alone, so that the same release has the same card. The wording lives in
`cards/dataset_card.md` of the repository, which the wheel carries as `cxr_max/cards`.
"""

import bisect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cxr_max.data.layout import parse_shard
from cxr_max.errors import DataError
from cxr_max.prompts import TEMPLATE
from cxr_max.schema import Column, DType, ListOf, StructOf, Table
from cxr_max.teachers import display_name

LICENSE = "physionet-credentialed-health-data-1.5.0"
LICENSE_URL = "https://physionet.org/content/mimic-cxr/view-license/2.1.0/"
HOMEPAGE = "https://arxiv.org/abs/2510.04142"
CITATION = """@inproceedings{cxrmax2026,
  title     = {Turning Drift into Constraint},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2026},
  note      = {arXiv:2510.04142},
}"""
DEFAULT_CONFIG = "trajectories"
_SPLITS = ("train", "validation", "test")
_YAML_TYPES = {"str": "string", "u8": "uint8", "u16": "uint16", "u32": "uint32", "i32": "int32", "i64": "int64",
               "f32": "float32", "f64": "float64", "bool": "bool"}  # fmt: skip
_HERE = Path(__file__).resolve().parents[1]


def template(name: str) -> str:
    """The text of a file of `cards/`.

    Raises:
        DataError: the installation lacks it.
    """
    for folder in (_HERE / "cards", _HERE.parent / "cards"):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise DataError(f"this installation of cxr-max lacks cards/{name}", next="pip install --force-reinstall cxr-max")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in place of `{{name}}`.

    Raises:
        KeyError: the template names a value that is not given.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], text)


def render(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        manifest: of the release; its `files` need to list the Parquet files only.
        tables: the tables it holds, with the columns it holds.
    """
    front = yaml.safe_dump(front_matter(manifest, tables), sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{front}---\n{fill(template('dataset_card.md'), facts(manifest, tables))}"


def front_matter(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> dict[str, Any]:
    """The YAML block: licence, `configs` (which files are which split) and `dataset_info` (features, row counts)."""
    rows = sum(t["rows"] for t in manifest["tables"].values())
    terms = (
        {"license": "apache-2.0"}
        if manifest["synthetic"]
        else {"license": "other", "license_name": LICENSE, "license_link": LICENSE_URL}
    )
    return {
        **terms,
        "pretty_name": f"CXR-MAX {manifest['version']}" + (" (synthetic)" if manifest["synthetic"] else ""),
        "language": ["en"],
        "task_categories": ["image-text-to-text"],
        "tags": ["medical", "radiology", "chest-x-ray", "mimic-cxr", "preference", "drift"],
        "size_categories": [_size_category(rows)],
        "configs": [_config(manifest, name) for name in tables],
        "dataset_info": [_info(manifest, table) for table in tables.values()],
    }


def facts(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> dict[str, str]:
    """What the templates say about one release, by placeholder."""
    counts = manifest.get("counts", {})
    teachers = list(counts.get("teacher", {}))
    synthetic = bool(manifest["synthetic"])
    index = manifest.get("class") == "index"
    return {
        "version": manifest["version"],
        "what": _what(manifest, len(teachers)),
        "generations": _generations(manifest),
        "licence": "synthetic data, free under Apache-2.0."
        if synthetic
        else f"`license: other`, `license_name: {LICENSE}`. Every user signs the agreement in person.",
        "release_hash": str(manifest.get("release_hash", ""))[:12],
        "synthetic_word": "SIMULATED data, no patient in it" if synthetic else "real data",
        "data_class": "index" if index else "derived",
        "tool": str(manifest.get("tool", "cxr-max")),
        "created": str(manifest.get("created", ""))[:10],
        "tables": _tables(manifest, tables),
        "counts": _counts(manifest, counts),
        "loading_note": "This is the public index: ids, splits, counts and hashes. With your own raw files it rebuilds "
        "the full release, checked hash by hash: `cxr-max build RAW... --out DIR --index INDEX`."
        if index
        else "Images, reports and MIMIC tables are not part of a release; `mimic_root=` joins them on your machine.",
        "columns": _columns(tables),
        "teachers": ", ".join(map(display_name, teachers)) or "none",
        "prompt": TEMPLATE,
        "lexicon": str((manifest.get("extracted") or {}).get("lexicon_version") or "none: no findings extracted"),
        "citation": CITATION,
        "license_url": "https://www.apache.org/licenses/LICENSE-2.0" if synthetic else LICENSE_URL,
        "homepage": HOMEPAGE,
    }


def features(dtype: DType) -> dict[str, Any]:
    """The YAML of one column's type, in the form every `datasets` since 2.14 reads."""
    if isinstance(dtype, StructOf):
        return {"struct": _fields(dtype)}
    if isinstance(dtype, ListOf):
        if isinstance(dtype.item, StructOf):
            return {"list": _fields(dtype.item)}
        inner = features(dtype.item)
        return {"list": inner["dtype"] if list(inner) == ["dtype"] else inner}
    return {"dtype": _YAML_TYPES[dtype]}


def _fields(struct: StructOf) -> list[dict[str, Any]]:
    return [{"name": name, **features(inner)} for name, inner in struct.fields]


def _config(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    files: dict[str, list[str]] = {}
    for path in sorted(manifest["files"]):
        shard = parse_shard(path)
        if shard is not None and shard.table == name:
            files.setdefault(shard.split, []).append(path)
    # One pattern per split keeps the card readable; it matches exactly these files.
    data = [{"split": s, "path": f"{name}/{s}-*.parquet"} for s in _SPLITS if s in files]
    default = {"default": True} if name == DEFAULT_CONFIG else {}
    return {"config_name": name, **default, "data_files": data}


def _info(manifest: Mapping[str, Any], table: Table) -> dict[str, Any]:
    sizes: dict[str, list[int]] = {}
    for path, entry in manifest["files"].items():
        shard = parse_shard(path)
        if shard is not None and shard.table == table.name:
            rows, size = sizes.setdefault(shard.split, [0, 0])
            sizes[shard.split] = [rows + entry["rows"], size + entry["bytes"]]
    splits = [{"name": s, "num_bytes": sizes[s][1], "num_examples": sizes[s][0]} for s in _SPLITS if s in sizes]
    total = sum(size for _, size in sizes.values())
    return {
        "config_name": table.name,
        "features": [{"name": c.name, **features(c.dtype)} for c in table.columns],
        "splits": splits,
        "download_size": total,
        "dataset_size": total,
    }


def _size_category(rows: int) -> str:
    bounds = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    return names[bisect.bisect_right(bounds, rows)]


def _what(manifest: Mapping[str, Any], teachers: int) -> str:
    if manifest["synthetic"]:
        return (
            "SYNTHETIC release: every text, image and label is simulated by the cxr-max toolkit in the shape of "
            "CXR-MAX. What follows describes the dataset it imitates."
        )
    if manifest.get("class") == "index":
        return (
            "The public index of CXR-MAX: identifiers, splits, counts and hashes of chest-X-ray reasoning "
            "trajectories by several multimodal language models on MIMIC-CXR; no text, no diagnosis, no image."
        )
    rows = manifest["tables"].get("trajectories", {}).get("rows", 0)
    instances = manifest["tables"].get("instances", {}).get("rows", 0)
    return (
        f"{rows:,} chest-X-ray reasoning trajectories: {instances:,} MIMIC-CXR instances described by {teachers} "
        "multimodal language models that contradict each other."
    )


def _generations(manifest: Mapping[str, Any]) -> str:
    n = int((manifest.get("counts") or {}).get("generations") or 1)
    return "One generation per teacher." if n == 1 else f"Up to {n} generations per teacher."


def _tables(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    lines = ["| table | rows | " + " | ".join(_SPLITS) + " | one row is |", "|---|---:|---:|---:|---:|---|"]
    for name, table in tables.items():
        entry = manifest["tables"][name]
        splits = [f"{entry.get('splits', {}).get(s, 0):,}" for s in _SPLITS]
        doc = table.doc.removeprefix("one row per ")
        lines.append(f"| `{name}` | {entry['rows']:,} | {' | '.join(splits)} | {doc} |")
    return "\n".join(lines)


def _counts(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    parts = [f"{display_name(t)} {_number(n)}" for t, n in counts.get("teacher", {}).items()]
    if counts.get("patients") is not None:
        parts.append(f"{counts['patients']:,} patients")
    rejected = counts.get("rejected") or {}
    parts.append(f"{sum(rejected.values()):,} raw rows rejected")
    return "; ".join(parts)


def _number(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("trajectories", value.get("rows", sum(v for v in value.values() if isinstance(v, int))))
    return f"{value:,}"


def _columns(tables: Mapping[str, Table]) -> str:
    blocks = []
    for name, table in tables.items():
        lines = [f"### `{name}`", "", "| column | type | class | meaning |", "|---|---|---|---|"]
        blocks.append("\n".join([*lines, *map(_column, table.columns)]))
    return "\n\n".join(blocks)


def _column(column: Column) -> str:
    name = f"**{column.name}**" if column.key else column.name
    allowed = f" ({', '.join(column.allowed)})" if column.allowed else ""
    null = ", may be null" if column.nullable else ""
    return f"| {name} | {_describe(column.dtype)} | {column.data_class} | {column.doc}{allowed}{null} |"


def _describe(dtype: DType) -> str:
    if isinstance(dtype, ListOf):
        return f"list of {_describe(dtype.item)}"
    if isinstance(dtype, StructOf):
        return f"{{{', '.join(f'{n}: {_describe(d)}' for n, d in dtype.fields)}}}"
    return _YAML_TYPES[dtype]
