"""Write the page and its figures: `index.html`, and each figure as PNG and SVG beside it."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from cxr_max.drift.config import MIN_PATIENTS
from cxr_max.drift.page.data import Data
from cxr_max.drift.page.draw import inline, render
from cxr_max.drift.page.figures import all_figures
from cxr_max.drift.page.tables import all_tables
from cxr_max.drift.page.verdict import verdict
from cxr_max.folders import write_atomic
from cxr_max.optional import require
from cxr_max.progress import track


def html(plain: Mapping[str, Any], drawn: Mapping[str, bytes] | None = None) -> str:
    """The page as one self-contained file, from a report's plain data (`DriftReport.plain()` or a `report.json`).

    Args:
        plain: the report.
        drawn: wide SVG of figures by name, where they are drawn already.
    """
    data, svg = Data(plain), drawn or {}
    jinja2 = require("jinja2", extra="drift")
    markup = require("markupsafe", extra="drift").Markup
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = resources.files("cxr_max.drift.page").joinpath("template.html.j2").read_text(encoding="utf-8")
    figures = [
        {"name": f.name, "title": f.title, "caption": f.caption,
         "wide": markup(inline(f, narrow=False, drawn=svg.get(f.name))), "narrow": markup(inline(f, narrow=True))}
        for f in track(all_figures(data), "figures of the page")
    ]  # fmt: skip
    text = environment.from_string(template).render(
        title=_title(data),
        synthetic=data.synthetic,
        hidden=not data.synthetic or bool(data.about.get("small_cells_hidden")),
        about=data.about,
        teachers=data.teachers,
        verdict=verdict(data),
        figures=figures,
        tables=all_tables(data),
        notes=plain["notes"],
        methods=_methods(data),
        min_patients=MIN_PATIENTS,
    )
    return str(text)


def write(plain: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `index.html` and NAME.png, NAME.svg of each figure into a folder; the same report gives the same files."""
    written, drawn = [], {}
    for figure in track(all_figures(Data(plain)), "figures as files"):
        for kind in ("png", "svg"):
            path = out / f"{figure.name}.{kind}"
            content = render(figure, kind)
            write_atomic(path, content)
            written.append(path)
            drawn[figure.name] = content
    write_atomic(out / "index.html", html(plain, drawn))
    return [out / "index.html", *written]


def _title(data: Data) -> str:
    return f"Teacher drift in {data.about['dataset']} {data.about['version']}"


def _methods(data: Data) -> list[tuple[str, str]]:
    about, methods = data.about, data.about["methods"]
    flat = {k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in methods.items() if k != "packages"}
    rows = [("signature", str(about["signature"])), *((k.replace("_", " "), str(v)) for k, v in flat.items())]
    return [*rows, ("packages", ", ".join(f"{k} {v}" for k, v in methods["packages"].items()))]
