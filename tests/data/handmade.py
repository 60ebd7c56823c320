"""A tiny release written by hand with pyarrow, so that loading is tested without the code that builds releases."""

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max.data import content
from cxr_max.data import manifest as layouts
from cxr_max.schema import HF_SPLITS, TABLES
from cxr_max.teachers import TEACHERS

SPLIT_OF = ("train", "train", "train", "validate", "test")
HOSTILE = (
    "",
    "ä – 肺炎 \U0001fac1",
    'a "quoted", line\nand another\r\n',
    "=cmd|' /C calc'!A0",
    "<b>{{ x }}</b>",
    "\x00nul",
)


def rows(instances: int = 10, *, text: str = "") -> dict[str, list[dict[str, Any]]]:
    """Rows of all tables but findings, for `instances` instances of the seven teachers."""
    made: dict[str, list[dict[str, Any]]] = {n: [] for n in ("instances", "trajectories", "steps", "consensus")}
    made["preferences"] = []
    for i in range(instances):
        instance = f"{i:08x}-synthetic"
        base = {"instance_id": instance, "subject_id": 10_000_000 + i // 2, "study_id": 50_000_000 + i}
        split = SPLIT_OF[(i // 2) % len(SPLIT_OF)]
        diseases = ["Edema", "Pneumonia"][: i % 2 + 1]
        made["instances"].append(
            {**base, "unit": "image", "dicom_ids": [instance], "split": split, "view": None if i % 3 else "AP",
             "diseases": diseases, "n_teachers": len(TEACHERS)}
        )  # fmt: skip
        texts = [f"Simulated answer {i} of {t.id}. {text}{HOSTILE[(i + k) % 6]}" for k, t in enumerate(TEACHERS)]
        for teacher, said in zip(TEACHERS, texts, strict=True):
            key = {"instance_id": instance, "teacher": teacher.id, "generation": 0}
            made["trajectories"].append(
                {**key, **{k: v for k, v in base.items() if k != "instance_id"}, "split": split,
                 "teacher_model": teacher.display, "teacher_snapshot": None, "decoding": None,
                 "prompt": f"diagnosed with {' and '.join(diseases)}.", "diseases": diseases, "trajectory": said,
                 "refusal": None, "n_words": len(said.split()), "n_steps": 1,
                 "text_sha256": hashlib.sha256(said.encode()).hexdigest()}
            )  # fmt: skip
            made["steps"].append(
                {**key, "step": 0, "section": None, "start": 0, "end": len(said), "generic": False, "_split": split}
            )
        one = {"instance_id": instance, "strategy": "vote", "_split": split}
        made["consensus"].append(
            {
                **one,
                "trajectory": texts[0],
                "supported_by": [TEACHERS[0].id, TEACHERS[2].id],
                "recipe": "vote",
                "support": [{"start": 0, "end": 4, "teacher": TEACHERS[j].id} for j in (0, 2)],
            }
        )
        rejected = [
            {"teacher": t.id, "generation": 0, "trajectory": said}
            for t, said in list(zip(TEACHERS, texts, strict=True))[1 : 2 + i % 3]
        ]
        made["preferences"].append(
            {**one, "prompt": "Why?", "chosen": texts[0], "rejected": rejected,
             "weights": None if i % 2 else [1.0 / (k + 1) for k in range(len(rejected))]}
        )  # fmt: skip
    return made


def write(
    folder: Path,
    *,
    version: str = "1.0.0",
    instances: int = 10,
    text: str = "",
    synthetic: bool = True,
    documents: bool = True,
    row_group: int = 7,
) -> Path:
    """A release folder; returns it. The same arguments give the same bytes."""
    files: dict[str, dict[str, Any]] = {}
    tables: dict[str, dict[str, Any]] = {}
    for name, all_rows in rows(instances, text=text).items():
        schema = TABLES[name].arrow()
        mark = {"cxr_max": json.dumps({"table": name, "synthetic": synthetic})}
        by_split: dict[str, list[dict[str, Any]]] = {}
        for row in all_rows:
            by_split.setdefault(HF_SPLITS[row.get("split") or row["_split"]], []).append(row)
        for split, some in by_split.items():
            path = folder / name / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [{k: v for k, v in r.items() if k in schema.names} for r in some]
            with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as file:
                file.write_table(pa.Table.from_pylist(kept, schema), row_group_size=row_group)
                file.add_key_value_metadata(mark)
            files[f"{name}/{path.name}"] = _entry(path, len(some))
        tables[name] = {
            "rows": len(all_rows),
            "schema_hash": content.schema_hash(TABLES[name]),
            "content_hash": content.content_hash(
                pl.DataFrame(all_rows, schema=TABLES[name].polars(), strict=False), TABLES[name]
            ),
            "splits": {s: len(r) for s, r in by_split.items()},
        }
    manifest = {
        **layouts.draft(version, synthetic=synthetic, seed=0 if synthetic else None),
        "created": "2026-01-01T00:00:00Z",
        "files": files,
        "tables": tables,
        "release_hash": layouts.release_hash(tables),
        "counts": {"teacher": {t.id: instances for t in TEACHERS}, "patients": (instances + 1) // 2},
    }
    if documents:
        _documents(folder, manifest)
    layouts.write(folder, manifest)
    return folder


def _documents(folder: Path, manifest: dict[str, Any]) -> None:
    from cxr_max.data import card, croissant

    tables = {name: TABLES[name] for name in manifest["tables"]}
    texts = {
        "README.md": card.render(manifest, tables),
        "croissant.json": croissant.render(manifest, tables),
        "CHANGELOG.md": "# Changelog\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        manifest["files"][name] = _entry(folder / name, None)


def _entry(path: Path, count: int | None) -> dict[str, Any]:
    content = path.read_bytes()
    return {"rows": count, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
