"""`croissant.json` of a release: Croissant 1.0 with the RAI extension, one record set per table.

Files are named relative to the release and carry the manifest's SHA-256, so `mlcroissant` reads a release folder as
it lies. The wording lives in `cards/croissant.json` of the repository.
"""

import json
from collections.abc import Mapping
from typing import Any

from cxr_max.data.card import CITATION, facts, fill, template
from cxr_max.data.layout import parse_shard
from cxr_max.schema import Column, DType, ListOf, StructOf, Table

PARQUET = "application/x-parquet"
_TYPES = {"str": "sc:Text", "bool": "sc:Boolean", "f32": "sc:Float", "f64": "sc:Float"}

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The standard context of Croissant 1.0."""


def render(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> str:
    """The document as JSON text; arguments as in `card.render`."""
    values = {k: json.dumps(v)[1:-1] for k, v in facts(manifest, tables).items()}
    words = json.loads(fill(template("croissant.json"), values))
    created = {"datePublished": manifest["created"]} if manifest.get("created") else {}
    document = {
        "@context": CONTEXT,
        **words,
        "version": manifest["version"],
        **created,
        "citeAs": CITATION,
        "distribution": _distribution(manifest, tables),
        "recordSet": [_record_set(table) for table in tables.values()],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _distribution(manifest: Mapping[str, Any], tables: Mapping[str, Table]) -> list[dict[str, Any]]:
    objects = []
    for path, entry in sorted(manifest["files"].items()):
        if parse_shard(path) is not None:
            objects.append(
                {
                    "@type": "cr:FileObject",
                    "@id": path,
                    "name": path,
                    "contentUrl": path,
                    "contentSize": f"{entry['bytes']} B",
                    "encodingFormat": PARQUET,
                    "sha256": entry["sha256"],
                }
            )
    sets = [
        {
            "@type": "cr:FileSet",
            "@id": _files(name),
            "name": _files(name),
            "encodingFormat": PARQUET,
            "includes": f"{name}/*.parquet",
        }
        for name in tables
    ]
    return [*objects, *sets]


def _files(table: str) -> str:
    return f"{table}-files"


def _record_set(table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.doc,
        "key": [{"@id": f"{table.name}/{key}"} for key in table.keys],
        "field": [_field(table, column) for column in table.columns],
    }


def _field(table: Table, column: Column) -> dict[str, Any]:
    source = {"fileSet": {"@id": _files(table.name)}, "extract": {"column": column.name}}
    head = {"@type": "cr:Field", "@id": f"{table.name}/{column.name}", "name": column.name}
    doc = {"description": f"{column.doc or column.name} [{column.data_class}]"}
    repeated = {"repeated": True} if isinstance(column.dtype, ListOf) else {}
    item = column.dtype.item if isinstance(column.dtype, ListOf) else column.dtype
    if isinstance(item, StructOf):
        return {**head, **doc, **repeated, "subField": [_sub_field(table, column, n, d) for n, d in item.fields]}
    return {**head, **doc, **repeated, "dataType": _type(item), "source": source}


def _sub_field(table: Table, column: Column, name: str, dtype: DType) -> dict[str, Any]:
    source: dict[str, Any] = {
        "fileSet": {"@id": _files(table.name)},
        "extract": {"column": column.name},
        "transform": {"jsonPath": name},
    }
    identity = f"{table.name}/{column.name}/{name}"
    return {"@type": "cr:Field", "@id": identity, "name": name, "dataType": _type(dtype), "source": source}


def _type(dtype: DType) -> str:
    return _TYPES.get(dtype, "sc:Integer") if isinstance(dtype, str) else "sc:Text"
