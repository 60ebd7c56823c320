"""The truth tables: their columns, and rows gathered column by column.

Everything here is exact: what is in the patient, what each report says, what each teacher says and where it went wrong.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

_ID = [("subject_id", pa.int32()), ("study_id", pa.int32())]
_WHAT = [
    ("concept", pa.string()),
    ("label", pa.string()),
    ("status", pa.string()),
    ("side", pa.string()),
    ("zone", pa.string()),
]
_ESSAY = [("instance_id", pa.string()), ("teacher", pa.string()), ("generation", pa.uint8())]

COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    # One row per concept, study and side that is really there (a bilateral finding is two rows).
    "states": [
        *_ID, ("concept", pa.string()), ("label", pa.string()), ("side", pa.string()), ("zone", pa.string()),
        ("severity", pa.float32()), ("level", pa.uint8()), ("change", pa.string()), ("hardness", pa.float32()),
    ],
    # One row per statement of a report; start and end are characters of the report file.
    "reports": [
        *_ID, ("section", pa.string()), *_WHAT, ("change", pa.string()), ("start", pa.uint32()), ("end", pa.uint32()),
        ("clause", pa.string()), ("template", pa.string()), ("held_out", pa.bool_()),
    ],
    # One row per assertion of a teacher, and one per finding it missed (outcome "missed", no step, no span).
    # twin is the clause as it should have been; misspelled clauses keep a clean twin.
    "assertions": [
        *_ESSAY, ("step", pa.uint16()), *_WHAT, ("start", pa.uint32()), ("end", pa.uint32()), ("outcome", pa.string()),
        ("origin", pa.string()), ("prompted", pa.bool_()), ("slot", pa.float32()), ("clause", pa.string()),
        ("twin", pa.string()), ("template", pa.string()), ("held_out", pa.bool_()),
    ],
    # One row per trajectory. refusal: nothing is asserted of the image in the whole text, be it that the teacher
    # declined (declined, with its origin) or that it named nothing.
    "trajectories": [
        *_ESSAY, ("subject_id", pa.int32()), ("study_id", pa.int32()), ("refusal", pa.bool_()),
        ("declined", pa.bool_()), ("declined_origin", pa.string()), ("n_words", pa.uint16()), ("n_steps", pa.uint16()),
    ],
    # One row per label and pair of consecutive studies in which the finding is present at least once.
    "progression": [
        *_ID, ("previous_study_id", pa.int32()), ("label", pa.string()), ("progression", pa.string()),
    ],
}  # fmt: skip

OUTCOMES: tuple[str, ...] = ("right", "missed", "flipped_side", "flipped_status", "invented")
ORIGINS: tuple[str, ...] = ("none", "shared", "private")


def schema(name: str) -> pa.Schema:
    """The Arrow schema of a truth table, marked synthetic."""
    return pa.schema(COLUMNS[name], metadata={"synthetic": "true"})


class Rows:
    """Rows of one truth table, gathered as tuples in column order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *values: Any) -> None:
        """Append one row."""
        self.rows.append(values)

    def extend(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Append several rows."""
        self.rows.extend(rows)

    def table(self) -> pa.Table:
        """The rows as an Arrow table of the declared schema."""
        wanted = schema(self.name)
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(wanted)
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, wanted, strict=True)]
        return pa.Table.from_arrays(arrays, schema=wanted)
