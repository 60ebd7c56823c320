"""The page: the same bytes for the same report, hostile text that only appears, nothing fetched, tables that sort."""

import copy
import itertools
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cxr_max import drift
from cxr_max.drift.page import writing
from cxr_max.drift.page.data import Data
from cxr_max.drift.page.draw import FILLS, LABEL, render, short
from cxr_max.drift.page.figures import all_figures
from cxr_max.drift.page.tables import all_tables
from cxr_max.drift.page.verdict import verdict

HOSTILE = ['<script>alert("x")</script>', "\u202eevil\u202c' \" & <b>", "w" * 1_000_000, "$\\frac{1}{2}$", ""]


@pytest.fixture(scope="module")
def plain(report: drift.DriftReport) -> dict[str, Any]:
    return json.loads(json.dumps(report.plain()))


@pytest.fixture(scope="module")
def page(plain: dict[str, Any]) -> str:
    return writing.html(plain)


def _renamed(plain: dict[str, Any], name: str, i: int = 0) -> dict[str, Any]:
    """The same report with one teacher called otherwise."""
    made = copy.deepcopy(plain)
    old = made["about"]["selection"]["teachers"][i]
    made["about"]["selection"]["teachers"][i] = name
    for table in ("teachers", "pairs", "findings", "steps", "tests"):
        for row in made[table]:
            for key in ("teacher", "teacher_a", "teacher_b"):
                if row.get(key) == old:
                    row[key] = name
    return made


def test_the_same_report_gives_the_same_files(plain: dict[str, Any], page: str, tmp_path: Path) -> None:
    writing.write(plain, tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"index.html", "teachers.png", "teachers.svg", "steps.png", "pairs.svg"} <= names
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page
    for figure in all_figures(Data(plain)):
        for kind in ("png", "svg"):
            assert (tmp_path / f"{figure.name}.{kind}").read_bytes() == render(figure, kind)


def test_the_report_writes_the_same_page(report: drift.DriftReport, page: str, tmp_path: Path) -> None:
    report.to_html(tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page


def test_it_is_one_file_that_names_no_address(page: str) -> None:
    assert len(page.encode()) < 5 * 2**20
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "only names of XML vocabularies"
    assert not re.search(r"<(?:link|iframe|img|object|embed)\b|@import|\bsrc=", page)
    assert "default-src 'none'" in page


def test_it_says_that_the_data_are_synthetic_and_draws_no_published_bars(plain: dict[str, Any], page: str) -> None:
    assert "synthetic data" in page
    assert "set to published values" in page
    real = copy.deepcopy(plain)
    real["about"]["synthetic"] = False
    shown = writing.html(real)
    assert "as published" in shown
    assert "no cell over fewer than 10 patients" in shown
    assert Data(real).published("gpt-5", "recall") == 0.54
    assert Data(plain).published("gpt-5", "recall") is None
    assert Data(real).published("someone-else", "recall") is None


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    class Reader(HTMLParser):
        ids: list[str]
        links: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name == "id":
                    self.ids.append(str(value))
                if name in ("href", "xlink:href") and str(value).startswith("#"):
                    self.links.append(str(value)[1:])

    reader = Reader()
    reader.ids, reader.links = [], []
    reader.feed(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert set(reader.links) <= set(reader.ids)


def test_hostile_teacher_names_do_nothing_but_appear(plain: dict[str, Any]) -> None:
    made = plain
    for i, name in enumerate(HOSTILE):
        made = _renamed(made, name, i)
    page = writing.html(made)
    assert (page.count("<script>"), page.count("</script>")) == (1, 1)
    assert "&lt;script&gt;alert" in page
    assert len(page.encode()) < 6 * 2**20


def test_labels_in_figures_are_short_and_printable() -> None:
    for name in HOSTILE:
        assert len(short(name)) <= LABEL
        assert short(name).isprintable() or short(name) == ""


def test_numbers_that_are_undefined_or_suppressed_say_so(plain: dict[str, Any]) -> None:
    made = copy.deepcopy(plain)
    for row in made["teachers"]:
        row.update(value=None, low=None, high=None)
        if row["teacher"] == "gpt-5":
            row["suppressed"] = "fewer than 10 patients"
    cells = {
        text for table in all_tables(Data(made)) if table.name == "teachers" for row in table.rows for text, _ in row
    }
    assert {"undefined", "fewer than 10 patients"} <= cells


@pytest.mark.parametrize("frames", [("teachers",), ("pairs",), ("steps",), ("findings",), ("tests",)])
def test_a_report_without_some_frames_is_still_a_page(plain: dict[str, Any], frames: tuple[str, ...]) -> None:
    made = Data({**plain, **{f: [] for f in frames}})
    assert all_tables(made)
    assert all(verdict(made))
    for figure in all_figures(made):
        assert render(figure, "png", narrow=True).startswith(b"\x89PNG")


def test_an_empty_report_says_that_nothing_can_be_said(plain: dict[str, Any]) -> None:
    made = {**plain, "teachers": [], "pairs": [], "steps": [], "findings": [], "tests": []}
    first, second = verdict(Data(made))
    assert "nothing can be said" in first
    assert "cannot be told" in second
    assert (all_figures(Data(made)), all_tables(Data(made))) == ([], [])


@pytest.mark.parametrize(("p", "said"), [(0.001, "tell different things"), (0.4, "No difference")])
def test_the_verdict_follows_the_test(plain: dict[str, Any], p: float, said: str) -> None:
    made = copy.deepcopy(plain)
    for test in made["tests"]:
        if test["test"] == "teachers diverge":
            test["p_adjusted"] = p
    assert said in verdict(Data(made))[0]


@pytest.mark.parametrize(("p", "said"), [(0.001, "it is disputed"), (0.4, "No drift along")])
def test_the_verdict_on_the_reasoning_follows_its_test(plain: dict[str, Any], p: float, said: str) -> None:
    made = copy.deepcopy(plain)
    for test in made["tests"]:
        if test["test"].startswith("disagreement has a trend"):
            test["p_adjusted"] = p
    assert said in verdict(Data(made))[1]


def test_an_extreme_is_only_claimed_when_teachers_differ_in_it(plain: dict[str, Any]) -> None:
    for p, said in ((0.001, "is highest with"), (0.5, "no teacher was shown to stand out")):
        made = copy.deepcopy(plain)
        for test in made["tests"]:
            if test["test"] == "teachers diverge" or test["metric"] == "precision_above_shuffle":
                test["p_adjusted"] = p if test["metric"] == "precision_above_shuffle" else 0.001
        assert said in verdict(Data(made))[0]


def test_figures_hold_fonts_as_outlines(plain: dict[str, Any]) -> None:
    for figure in all_figures(Data(plain)):
        assert "<text" not in render(figure, "svg").decode()


def test_subgroups_and_changes_are_drawn(plain: dict[str, Any]) -> None:
    assert {"subgroups", "changes"}.isdisjoint(f.name for f in all_figures(Data(plain)))
    made = copy.deepcopy(plain)
    wanted = ("precision", "recall")
    base = [r for r in made["teachers"] if r["metric"] in wanted and (r["by"], r["finding"]) == (None, "all")]
    base = [r for r in base if r["value"] is not None]
    for group in ("PA", "<script>", "\u202eAP"):
        made["teachers"] += [r | {"by": "view", "group": group} for r in base]
    made["teachers"] += [r | {"by": "view", "group": "few", "value": None, "low": None, "high": None} for r in base]
    made["teachers"] += [r | {"metric": f"change of {r['metric']}"} for r in base]
    drawn = {f.name: f for f in all_figures(Data(made))}
    assert {"subgroups", "changes"} <= set(drawn)
    for name in ("subgroups", "changes"):
        for narrow in (False, True):
            assert render(drawn[name], "svg", narrow=narrow).startswith(b"<?xml")
    page = writing.html(made)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page


def test_figures_keep_their_meaning_without_colour(plain: dict[str, Any]) -> None:
    def grey(color: str) -> float:
        return sum(w * int(color[i : i + 2], 16) for w, i in ((0.299, 1), (0.587, 3), (0.114, 5)))

    shades = sorted(map(grey, FILLS))
    assert min(b - a for a, b in itertools.pairwise(shades)) > 40
    svg = render(next(f for f in all_figures(Data(plain)) if f.name == "steps"), "svg").decode()
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg)) <= {
        "#ffffff", "#1a1a1a", "#6b6b6b", "#d9d9d9", "#d6e4f0", "#12355b", "#000000"
    }  # fmt: skip


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def served(plain: dict[str, Any], tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The page on a loopback server that logs what is asked for."""
    (tmp_path / "index.html").write_text(writing.html(_renamed(plain, HOSTILE[0])), encoding="utf-8")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html", asked
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_it_renders_sorts_and_asks_for_nothing_else(served: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = served
    log = tmp_path / "net.json"
    script = (
        "const b=document.querySelector('th button');b.click();b.click();"
        "document.title='sorted '+b.parentElement.getAttribute('aria-sort');"
    )
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--log-net-log={log}", "--dump-dom", url],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert "sorted descending" in done.stdout, done.stderr[-2000:]
    assert done.stdout.count("<svg") > 5
    assert "alert(" in done.stdout, "the hostile name appears"
    assert set(asked) <= {"/index.html", "/favicon.ico"}
    port = url.rsplit(":", 1)[1].split("/")[0]
    requests = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(errors="replace")))
    pages = {u for u in requests if f":{port}/" in u}
    assert requests - pages == set() or all("127.0.0.1" not in u for u in requests - pages)
