"""Column types in plain Python, and their Polars, Arrow and Hugging Face forms; `cxr_max.schema` uses them."""

from dataclasses import dataclass
from typing import Any, Literal

Scalar = Literal["str", "bool", "i8", "u8", "u16", "u32", "i32", "i64", "f32", "f64"]


@dataclass(frozen=True)
class ListOf:
    """A list column; `item` is a scalar or a struct."""

    item: "DType"


@dataclass(frozen=True)
class StructOf:
    """A struct column, as (name, dtype) pairs in order."""

    fields: tuple[tuple[str, "DType"], ...]


DType = Scalar | ListOf | StructOf


_POLARS: dict[str, str] = {
    "str": "String", "bool": "Boolean", "i8": "Int8", "u8": "UInt8", "u16": "UInt16", "u32": "UInt32",
    "i32": "Int32", "i64": "Int64", "f32": "Float32", "f64": "Float64",
}  # fmt: skip
_ARROW: dict[str, str] = {
    "str": "string", "bool": "bool_", "i8": "int8", "u8": "uint8", "u16": "uint16", "u32": "uint32",
    "i32": "int32", "i64": "int64", "f32": "float32", "f64": "float64",
}  # fmt: skip


def polars(dtype: DType, pl: Any) -> Any:
    """The Polars form of a dtype."""
    if isinstance(dtype, ListOf):
        return pl.List(polars(dtype.item, pl))
    if isinstance(dtype, StructOf):
        return pl.Struct({name: polars(inner, pl) for name, inner in dtype.fields})
    return getattr(pl, _POLARS[dtype])()


def arrow(dtype: DType, pa: Any) -> Any:
    """The Arrow form of a dtype."""
    if isinstance(dtype, ListOf):
        return pa.list_(arrow(dtype.item, pa))
    if isinstance(dtype, StructOf):
        return pa.struct([(name, arrow(inner, pa)) for name, inner in dtype.fields])
    return getattr(pa, _ARROW[dtype])()


def feature(dtype: DType, ds: Any) -> Any:
    """The Hugging Face form of a dtype; a list of structs stays one."""
    if isinstance(dtype, ListOf):
        return [feature(dtype.item, ds)]
    if isinstance(dtype, StructOf):
        return {name: feature(inner, ds) for name, inner in dtype.fields}
    return ds.Value(_ARROW[dtype].rstrip("_"))
