"""In miniature: supervised training's loss falls, and its answers are graded as they should be."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import learns
from cxr_max import align
from cxr_max.recipes import tiny_cpu
from tests import tiny_world


def test_the_loss_falls(tmp_path: Path) -> None:
    tiny = tiny_world.make(tmp_path, subjects=10)
    sight, *_ = tiny_cpu.build(release=tiny.release, out=tmp_path / "run", mimic_root=tiny.root, limit=12, max_steps=40)
    align.train(sight)
    losses = [r["loss"] for r in align.watch.read_log(sight.out / "log.jsonl")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) / 2


def test_balanced_accuracy_by_hand() -> None:
    truth = np.array([[True], [True], [False], [False], [False]])
    guess = np.array([[True], [False], [False], [False], [True]])
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 0, 0, 1], [0, 0, 1, 1, 1]])
    scores = learns.balanced(truth, guess, weights)[:, 0]
    assert scores[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores[1] == pytest.approx((1 + 0) / 2)
    assert np.isnan(scores[2])
