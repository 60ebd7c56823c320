"""What a stage of the main job shows of its result: a line, and a picture or a table where people would rather look."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Panel:
    """One stage's part of the summary page.

    Attributes:
        note: one line that names what to open; also printed by the shell.
        sentences: what came out, in plain words.
        links: pairs of a path relative to the output folder and what lies there.
        picture: path of a PNG relative to the output folder, or "".
        caption: what the picture shows.
        table: header row, then the rows; empty for none.
    """

    note: str
    sentences: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    picture: str = ""
    caption: str = ""
    table: tuple[tuple[str, ...], ...] = ()

    def to_json(self) -> str:
        """The panel as the text that marks its stage as done."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Panel":
        """Read what `to_json` wrote."""
        plain = json.loads(text)
        return cls(
            note=plain["note"],
            sentences=tuple(plain["sentences"]),
            links=tuple((path, what) for path, what in plain["links"]),
            picture=plain["picture"],
            caption=plain["caption"],
            table=tuple(tuple(row) for row in plain["table"]),
        )
