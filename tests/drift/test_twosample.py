"""Texts between teachers: what counts as content, and that differences are found where they are planted only."""

import numpy as np
import pytest

from cxr_max import drift
from cxr_max.drift import textforms, twosample
from cxr_max.drift.extra import Extra
from cxr_max.drift.sources import TextTables

CONFIG = drift.Config(permutations=99, embedding_n=200)
CLAUSES = ("The heart is enlarged.", "There is a left effusion.", "No pneumothorax.", "The lungs are clear.")


def test_content_is_neither_layout_nor_side_nor_advice() -> None:
    plain = "There is a left pleural effusion. No pneumothorax is seen."
    styled = "## Findings\n\n- There is a **right** pleural effusion.\n- *No* pneumothorax is seen.\n"
    assert textforms.content_steps(plain) == textforms.content_steps(styled)
    assert "side" in textforms.content_steps(plain)[0]
    disclaimer = "Please consult a board-certified radiologist for a formal interpretation."
    assert textforms.content_steps(f"{plain} {disclaimer}") == textforms.content_steps(plain)


def test_content_takes_equally_many_steps() -> None:
    texts = [["The heart is large. There is an effusion. The lungs are clear.", "There is an effusion.", ""]]
    rows = textforms.content(texts, seed=0)
    assert [len(t.split(".")) for t in rows[0]][:2] == [2, 2]
    assert rows[0][2] == ""


def test_format_sees_layout_only() -> None:
    a, b = textforms.format_features(["**Left** effusion, small.", "**Heart** enlarged, large."])
    assert a == pytest.approx(b)
    assert textforms.format_features([]).shape[0] == 0


def made(kind: str) -> twosample.Sample:
    """Two teachers on 120 studies of 60 patients: the same habits, other layout, or another finding."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(120):
        said = [" ".join(rng.choice(CLAUSES, 3)) for _ in range(2)]
        if kind == "layout":
            said[1] = "".join(f"- **{s.strip()}.**\n" for s in said[1].split(".") if s.strip())
        if kind == "content":
            said[1] += " There is a rib fracture."
        texts.append(said)
    return twosample.Sample(texts, np.repeat(np.arange(60), 2))


@pytest.mark.parametrize(
    ("kind", "raw", "content", "layout"),
    [("same", False, False, False), ("layout", False, False, True), ("content", True, True, False)],
)
def test_what_differs_is_told_apart(kind: str, raw: bool, content: bool, layout: bool) -> None:
    sample = made(kind)
    for view, differs in (("raw", raw), ("content", content), ("format", layout)):
        features = twosample.view_features(sample, view, CONFIG)
        p = twosample.global_p(features, sample.patient, CONFIG)[1]
        rows = twosample.pair_rows(features[:, 0], features[:, 1], sample.patient, view, (99, 1))
        if kind == "content" and view == "format":
            continue
        assert (p <= 0.02) == differs, (view, p)
        for row in rows:
            assert (row["p"] <= 0.02) == differs, (view, row)
            assert row["p"] >= 0.01


def test_rows_of_the_report(tables: TextTables, encoded: drift.encoded.Encoded) -> None:
    config = drift.Config(permutations=19, embedding_n=40)
    extra = twosample.compute(tables, encoded, config)
    assert {(r["metric"], r["text"]) for r in extra.pairs} == {
        ("energy_distance", "raw"), ("mmd", "raw"), ("c2st_auc", "raw"), ("energy_distance", "content"),
        ("mmd", "content"), ("c2st_auc", "content"), ("c2st_auc", "format"),
    }  # fmt: skip
    assert len(extra.pairs) == 21 * 7
    assert len(extra.tests) == 21 * 7 + 3
    assert twosample.compute(tables, encoded, drift.Config(embedding_n=0)) == Extra()
    few = twosample.compute(tables, encoded, drift.Config(embedding_n=3))
    assert "left out" in few.notes[0]
