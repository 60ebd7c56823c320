"""The demo runs its stages in order, continues after a kill and refuses foreign folders."""

import json
import pkgutil
from pathlib import Path

import pytest

from cxr_max.app import demo, stages
from cxr_max.app.panel import Panel
from cxr_max.app.stages import compare
from cxr_max.errors import UsageError


def test_every_stage_is_in_the_plan() -> None:
    assert {s.name for s in demo.PLAN} == {m.name for m in pkgutil.iter_modules(stages.__path__)}


def test_a_demo_that_failed_continues_where_it_was(tmp_path: Path) -> None:
    calls: list[str] = []

    def fails(config: demo.DemoConfig) -> Panel:
        calls.append("join")
        if len(calls) < 3:
            raise RuntimeError
        return Panel("")

    def builds(config: demo.DemoConfig) -> Panel:
        calls.append("build")
        return Panel("look here")

    plan = (demo.Stage("build", "a release", builds), demo.Stage("join", "rows", fails))
    config = demo.DemoConfig(tmp_path / "out")
    with pytest.raises(RuntimeError):
        demo.run(config, plan=plan)
    results = demo.run(config, plan=plan)
    assert calls == ["build", "join", "join"]
    assert [(r.name, r.state, r.note) for r in results] == [("build", "kept", "look here"), ("join", "done", "")]
    assert json.loads(json.dumps([r.to_dict() for r in results]))[0]["panel"]["note"] == "look here"


def test_other_settings_or_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    demo.run(demo.DemoConfig(tmp_path / "out"), plan=())
    with pytest.raises(UsageError, match="other settings"):
        demo.run(demo.DemoConfig(tmp_path / "out", quick=True), plan=())
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    with pytest.raises(UsageError, match="holds no demo"):
        demo.run(demo.DemoConfig(tmp_path / "theirs"), plan=())


def test_runs_stand_by_task_and_one_that_never_answered_has_no_accuracy() -> None:
    def row(task: str, run: str, score: str, value: str, group: str = "mean") -> dict[str, str]:
        interval = {"value": value, "low": value, "high": value}
        return {"task": task, "subset": "all", "score": score, "group": group, "run": run, "n": "24", **interval}

    rows = [
        row("diagnosis_test", "majority", "macro_accuracy", "0.0"),
        row("diagnosis_test", "majority", "abstention", "1.0"),
        row("ms_cxr_t_progression", "apo", "macro_accuracy", "0.41"),
        row("ms_cxr_t_progression", "apo", "abstention", "0.5"),
        row("ms_cxr_t_progression", "majority", "macro_accuracy", ""),
        row("ms_cxr_t_progression", "majority", "macro_accuracy", "0.9", group="Edema"),
    ]
    assert compare.shown(rows) == [
        ("ms_cxr_t_progression", "majority", "", "", "", "24"),
        ("ms_cxr_t_progression", "apo", "0.410", "0.410", "0.410", "24"),
        ("diagnosis_test", "majority", "no answer", "", "", "24"),
    ]
