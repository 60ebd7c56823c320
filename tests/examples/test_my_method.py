"""The third-party package: installed from its folder, found by its entry points, trained and evaluated."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxr_max import data, synth
from cxr_max.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples" / "my_method"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed into a folder of its own, without network."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PACKAGE)], check=True)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    synth.write_world(synth.WorldConfig(subjects=40, seed=3, size=64, length=0.2), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release")
    return folder


def _run(site: Path, code: str, *args: object) -> Any:
    """Run code where the package is installed; the last line it prints is JSON."""
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_three_are_found_and_nothing_is_found_without_the_package(site: Path, tmp_path: Path) -> None:
    code = """
import json
from cxr_max.align import methods
from cxr_max.evaluation import rows, tasks
print(json.dumps([f"{k}: {n}" for k, r in (("method", methods), ("row", rows), ("task", tasks)) for n in r.names()]))
"""
    added = set(_run(site, code)) - set(_run(tmp_path, code))
    assert added == {"method: drifting_steps", "row: drifting_steps", "task: effusion_side_given_dx"}


BENCH = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from cxr_max import evaluation
from cxr_max.align import ModelSpec, Optimizer, Scratch, TrainConfig
from cxr_max.evaluation import bench
from cxr_max.evaluation.bench.config import Design, Endpoint
from cxr_max.roots import resolve

world, out = Path(sys.argv[1]), Path(sys.argv[2])
end = Endpoint("diagnosis_test", "macro_accuracy", "mean", "macro balanced accuracy")
side = Endpoint("diagnosis_test", "side_accuracy", "all", "side accuracy")
design = Design(end, side, end, ("sft", "drifting_steps"), predictor={"max_tokens": "4"}, undertrained=True,
                preference=((5.0, 1e-4),))

def build(*, release, out, roots, seed):
    model = ModelSpec(scratch=Scratch(vocabulary=400), freeze_vision=False, min_pixels=56**2, max_pixels=56**2)
    return (TrainConfig(release=release, out=out, model=model, method="sft", template="diagnose", roots=roots,
                        seed=seed, optimizer=Optimizer(groups=2), limit=12, check_memory=False),)

recipe = SimpleNamespace(NAME="toy", DESIGN=design, QUICK=design, build=build)
roots = resolve([], mimic_roots=[world / "world" / "mimic"])
config = bench.configure(recipe, world / "release", out, roots=roots, truth=world / "world" / "truth")
found = bench.run(config)
folder = out / "runs" / "drifting_steps-seed0" / "stage"
trained = json.loads((folder / "final" / "training.json").read_text())
log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
context = evaluation.Context(roots, None, world / "release", world / "world" / "truth")
evaluation.run(evaluation.EvalConfig(("effusion_side_given_dx",), out / "eval", context),
               lambda: evaluation.predictors.make("hf", {"model": str(folder / "final")}))
scores = evaluation.grade(out / "eval", draws=10)
asked = [scores[0]["task"], scores[0]["n"]]
print(json.dumps([[r.row for r in found], trained["method"], log[-1]["drifting_tokens"], *asked]))
"""


def test_the_row_is_trained_in_the_benchmark_and_the_task_asked(site: Path, world: Path, tmp_path: Path) -> None:
    rows, method, tokens, task, n = _run(site, BENCH, world, tmp_path / "out")
    assert rows == ["drifting_steps", "sft"]
    assert method == "drifting_steps"
    assert tokens > 1
    assert (task, n > 0) == ("effusion_side_given_dx", True)


@pytest.fixture
def method(site: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(site))
    from cxr_max_my_method import drifting_steps

    return drifting_steps


def test_negatives_are_cut_after_the_first_step_that_the_consensus_does_not_affirm(method: Any) -> None:
    from cxr_max.align.types import PreferenceGroup

    positive = "There is a left pleural effusion. The heart is enlarged."
    same = "There is a left pleural effusion."
    flips = "The heart is enlarged. There is a right pleural effusion. There is a left pneumothorax."
    group = PreferenceGroup("i", ("Edema",), (positive, same, flips), ("vote", "gpt-5", "grok-4"), weights=(0.5, 2.0))
    cut = method.select(group, method.Hyper())
    assert cut.completions == (positive, "The heart is enlarged. There is a right pleural effusion.")
    assert cut.sources == ("vote", "grok-4")
    assert cut.weights == (2.0,)
    assert method.select(PreferenceGroup("i", (), (positive, same), ("vote", "gpt-5")), method.Hyper()) is None


def test_only_the_last_step_of_a_negative_gets_a_gradient(method: Any) -> None:
    import torch

    from cxr_max.align.types import GroupLogps

    policy = torch.full((1, 2, 4), -1.0, requires_grad=True)
    mask = torch.tensor([[[True] * 4, [True] * 4]])
    group = GroupLogps(
        policy_BK=policy.sum(dim=2), n_tokens_BK=torch.full((1, 2), 4), mask_BK=torch.ones(1, 2, dtype=torch.bool),
        reference_BK=torch.full((1, 2), -4.0), token_policy_BKT=policy, token_reference_BKT=torch.full((1, 2, 4), -1.0),
        token_mask_BKT=mask, step_BKT=torch.tensor([[[0, 0, 1, -1], [0, 0, 1, 1]]]),
    )  # fmt: skip
    out = method.loss(group, method.Hyper(beta=2.0))
    assert float(out.loss.detach()) == pytest.approx(0.693147, abs=1e-5)
    out.loss.backward()
    # dL/da = 1/2; each positive token -beta/4 of it, each of the two tokens of the drifting step +beta/2.
    assert policy.grad is not None
    assert policy.grad[0].tolist() == [[-0.25] * 4, [0.0, 0.0, 0.5, 0.5]]
    with pytest.raises(DataError, match="needs tokens"):
        method.loss(GroupLogps(group.policy_BK, group.n_tokens_BK, group.mask_BK), method.Hyper())
