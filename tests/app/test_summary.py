"""The demo's page: self-contained, escaped, honest about what is synthetic, its links inside the output folder."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_max.app import films, summary
from cxr_max.app.panel import Panel
from cxr_max.synth import WorldConfig, write_world

HOSTILE = '<script>alert("x")</script> \u202e \' " &'


class Tags(HTMLParser):
    """Tags, and addresses that a browser would follow or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def _page(out: Path, *sections: summary.Section, quick: bool = True) -> tuple[str, Tags]:
    text = summary.write(out, sections, quick=quick, seed=3).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    return text, tags


def test_the_page_is_self_contained_and_hostile_text_only_appears(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "films.png")
    panel = Panel("note", (HOSTILE,), (("report.json", HOSTILE),), "films.png", HOSTILE, (("a", "b"), (HOSTILE, "1")))
    text, tags = _page(tmp_path, summary.Section("synth", HOSTILE, "done", panel))
    assert "script" not in tags.tags
    assert "&lt;script&gt;" in text
    assert all(a.startswith(("#", "data:image/png;base64,")) or (tmp_path / a).exists() for a in tags.addresses)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("quick", [True, False])
def test_the_page_says_what_is_synthetic_and_what_is_short(tmp_path: Path, *, quick: bool) -> None:
    text, _ = _page(tmp_path, summary.Section("train", "students", "kept", Panel("note")), quick=quick)
    assert "Everything on this page is synthetic" in text
    assert ("undertrained" in text) == quick
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["synthetic"]
    assert [(s["name"], s["state"], s["panel"]["note"]) for s in report["stages"]] == [("train", "kept", "note")]


@given(st.builds(Panel, st.text(), st.lists(st.text()).map(tuple), picture=st.text(), caption=st.text()))
def test_a_panel_survives_its_mark(panel: Panel) -> None:
    assert Panel.from_json(panel.to_json()) == panel


def test_the_sheet_of_films_shows_frontal_films_of_a_world(tmp_path: Path) -> None:
    write_world(WorldConfig(subjects=4, size=64, seed=1), tmp_path / "world")
    shown = films.sheet(tmp_path / "world", tmp_path / "films.png", columns=2, rows=1)
    with Image.open(tmp_path / "films.png") as sheet:
        assert sheet.size == (2 * films.WIDTH, films.WIDTH + films.CAPTION)
        levels = {sheet.crop((i * films.WIDTH, 0, (i + 1) * films.WIDTH, 60)).getextrema() for i in range(2)}
    assert shown == 2
    assert all(low < 60 and high > 190 for low, high in levels)
