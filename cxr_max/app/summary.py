"""The demo's own page: what every stage made, in one self-contained file that links the rest."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cxr_max import __version__
from cxr_max.app.panel import Panel
from cxr_max.folders import write_atomic
from cxr_max.optional import require


@dataclass(frozen=True)
class Section:
    """One stage on the page: its name, what it does, whether it ran now or before, and what it shows."""

    name: str
    what: str
    state: str
    panel: Panel


def write(out: Path, sections: Iterable[Section], *, quick: bool, seed: int) -> Path:
    """Write `index.html` and `report.json`; only relative links, no request to any address.

    Args:
        out: output folder of the demo; pictures and links lie below it.
        sections: the stages in their order.
        quick: whether this was the short form, which the page says.
        seed: seed of the synthetic world.

    Returns:
        The page's path.
    """
    rows = tuple(sections)
    jinja2 = require("jinja2", extra="drift")
    template = resources.files("cxr_max.app").joinpath("summary.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(template).render(
        sections=rows,
        pictures={s.name: _inline(out / s.panel.picture) for s in rows if s.panel.picture},
        version=__version__,
        quick=quick,
        seed=seed,
    )
    plain = {
        "synthetic": True,
        "quick": quick,
        "seed": seed,
        "cxr_max": __version__,
        "stages": [{"name": s.name, "state": s.state, "panel": json.loads(s.panel.to_json())} for s in rows],
    }
    write_atomic(out / "report.json", json.dumps(plain, indent=2) + "\n")
    write_atomic(out / "index.html", str(page))
    return out / "index.html"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
