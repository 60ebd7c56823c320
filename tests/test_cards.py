"""The teachers' card says what the code says."""

import re
import tomllib
from pathlib import Path

import yaml

from cxr_max.teachers import TEACHERS

ROOT = Path(__file__).parents[1]
CARD = (ROOT / "cards" / "teachers.md").read_text(encoding="utf-8")


def test_the_front_matter_names_the_teachers_of_the_code() -> None:
    front = yaml.safe_load(CARD.split("---")[1])["teachers"]
    assert [(row["id"], row["model"], row["provider"]) for row in front] == [
        (t.id, t.display, t.provider) for t in TEACHERS
    ]


def test_the_published_values_are_those_drawn_in_the_report() -> None:
    published = tomllib.loads((ROOT / "cxr_max" / "drift" / "published.toml").read_text(encoding="utf-8"))["figure_1a"]
    rows = dict(re.findall(r"^\| `([^`]+)` \|(?:[^|]*\|){2} (.*) \|$", CARD, flags=re.MULTILINE))
    assert {name: [float(v) for v in values.split(" | ")] for name, values in rows.items()} == published
