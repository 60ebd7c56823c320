"""The demo runs the stages that exist, names the others, continues after a kill and refuses foreign folders."""

from pathlib import Path

import pytest

from cxr_max.app import demo
from cxr_max.app.panel import Panel
from cxr_max.errors import UsageError


def test_stages_that_exist_are_of_the_plan() -> None:
    assert set(demo.stages()) <= {name for name, _ in demo.PLAN}


def test_missing_stages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "stages", lambda: {"build": lambda config: Panel("look here")})
    results = {r.name: r for r in demo.run(demo.DemoConfig(tmp_path / "out"))}
    assert results["build"].state == "done"
    assert results["build"].note == "look here"
    assert {r.state for n, r in results.items() if n != "build"} == {"missing"}


def test_a_demo_that_failed_continues_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fails(config: demo.DemoConfig) -> Panel:
        calls.append("join")
        if len(calls) < 3:
            raise RuntimeError
        return Panel("")

    def builds(config: demo.DemoConfig) -> Panel:
        calls.append("build")
        return Panel("")

    monkeypatch.setattr(demo, "stages", lambda: {"build": builds, "join": fails})
    config = demo.DemoConfig(tmp_path / "out")
    with pytest.raises(RuntimeError):
        demo.run(config)
    states = {r.name: r.state for r in demo.run(config)}
    assert calls == ["build", "join", "join"]
    assert (states["build"], states["join"]) == ("kept", "done")


def test_other_settings_or_a_foreign_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "stages", dict)
    demo.run(demo.DemoConfig(tmp_path / "out"))
    with pytest.raises(UsageError, match="other settings"):
        demo.run(demo.DemoConfig(tmp_path / "out", quick=True))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    with pytest.raises(UsageError, match="holds no demo"):
        demo.run(demo.DemoConfig(tmp_path / "theirs"))
