"""Build the release from the simulated teachers' outputs, and verify it."""

from typing import Any

from cxr_max import data
from cxr_max.app.panel import Panel
from cxr_max.errors import CheckFailedError


def run(config: Any) -> Panel:
    """A release named cxr-max, so that plain `datasets` finds it by that name too; complete when it has that name."""
    release = config.out / "cxr-max"
    if not release.exists():
        data.build([config.out / "world" / "raw"], release, jobs=2)
    built = data.open_release(release)
    if not built.verify().ok:
        raise CheckFailedError("the release that was just built does not verify", next=f"cxr-max verify {release}")
    rows = built.manifest["tables"]["trajectories"]["rows"]
    return Panel(
        f"{release}: version {built.version}, {rows} trajectories; README.md is its card",
        (f"Version {built.version}: {rows:,} trajectories; every hash, key and contract holds.",),
        (("cxr-max/README.md", "its card"), ("cxr-max/manifest.json", "what it holds, with hashes")),
    )
