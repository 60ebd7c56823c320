"""What holds for any text and any set of findings."""

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxr_max import findings
from cxr_max.findings.model import STATUSES, ZONES, Extraction, Finding

CONCEPTS = ("atelectasis", "pneumonia", "consolidation", "pleural_effusion", "lung_opacity", "lung_nodule")
TUPLES = st.builds(
    Finding,
    st.sampled_from(CONCEPTS),
    st.none(),
    st.sampled_from(STATUSES),
    st.sampled_from((None, "left", "right")),
    st.sampled_from((None, *ZONES)),
    st.just(0),
    st.just(1),
    st.just("test"),
)
SETS = st.lists(TUPLES, max_size=8)
OPTIONS = st.fixed_dictionaries(
    {
        "level": st.sampled_from(("concept", "side", "zone")),
        "unc": st.sampled_from(("pos", "neg", "drop", "own")),
        "mode": st.sampled_from(("present", "present+absent")),
        "hierarchy": st.booleans(),
    }
)
SPOKEN = (
    "not without left right both bilateral effusion pleural pneumothorax opacity opacities lung lungs heart enlarged",
    "no normal clear is are may represent or and but , . ; : ( ) - ** # 1. 2) mild small the there in of with cannot",
    "exclude possible history atelectasis/consolidation 1.5 cm XXXX ___ base apex nodule calcified tube",
)
WORDS = [*(word for line in SPOKEN for word in line.split()), "\n", "\n\n- "]
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(SETS, SETS, OPTIONS, st.randoms())
def test_order_and_duplicates_do_not_matter(c, r, options, random) -> None:
    shuffled, doubled = list(c), [*r, *r]
    random.shuffle(shuffled)
    one, other = findings.alignment(c, r, **options), findings.alignment(shuffled, doubled, **options)
    assert all(same(a, b) for a, b in zip(one, other, strict=True))


@given(SETS, SETS, OPTIONS)
def test_swapping_the_sides_swaps_precision_and_recall(c, r, options) -> None:
    one, other = findings.alignment(c, r, **options), findings.alignment(r, c, **options)
    assert same(one.precision, other.recall)
    assert same(one.recall, other.precision)
    assert one.contradictions == other.contradictions


@given(SETS, SETS, st.sampled_from(("concept", "side", "zone")))
def test_a_concept_the_reference_lacks_never_helps(c, r, level) -> None:
    more = [*c, Finding("fracture", None, "present", "left", None, 0, 1, "test")]
    one, other = findings.alignment(c, r, level=level), findings.alignment(more, r, level=level)
    assert same(one.recall, other.recall)
    assert math.isnan(one.precision) or other.precision <= one.precision


@given(SETS, SETS, st.data())
def test_an_entailed_tuple_in_a_new_cell_never_hurts(c, r, data) -> None:
    present = sorted(findings.entail.cells(r), key=str)
    new = [p for p in present if p not in findings.entail.cells(c)]
    if not new:
        return
    cell = data.draw(st.sampled_from(new))
    c = [f for f in c if (f.concept, f.side) != (cell.concept, cell.side)]
    more = [*c, Finding(cell.concept, None, "present", cell.side, None, 0, 1, "test")]  # type: ignore[arg-type]
    one, other = findings.alignment(c, r), findings.alignment(more, r)
    assert math.isnan(one.precision) or other.precision >= one.precision
    assert other.recall >= one.recall


def test_an_over_specific_tuple_is_wrong_but_may_raise_recall() -> None:
    unspecific = Finding("lung_nodule", None, "present", None, None, 0, 1, "test")
    specific = unspecific._replace(side="left")
    result = findings.alignment([specific], [unspecific])
    assert (result.precision, result.recall) == (0.0, 1.0)


def check(text: str) -> Extraction:
    extraction = findings.extract(text)
    assert extraction == findings.extract(text)
    last = 0
    for step in extraction.steps:
        assert last <= step.start < step.end <= len(text)
        assert text[step.start : step.end] == step.text
        last = step.end
    known = findings.concepts()
    for f in extraction.findings:
        assert 0 <= f.start < f.end <= len(text)
        assert known[f.concept].label == f.label
        assert sum(s.start <= f.start < s.end for s in extraction.steps) == 1
    assert [f.start for f in extraction.findings] == sorted(f.start for f in extraction.findings)
    assert extraction.steps == findings.segment(text)
    return extraction


@settings(max_examples=300)
@example("İ left effusion. There is an İİ opacity - not-so -small-")
@example("Ⅷ effusion\u2028ΑΣ right opacity")
@given(TEXTS)
def test_any_text_is_taken(text: str) -> None:
    check(text)


@given(st.permutations(["There is a left pleural effusion.", "The heart is enlarged.", "No pneumothorax is seen."]))
def test_sentence_order_does_not_matter_without_headings(sentences: list[str]) -> None:
    cells = {findings.entail.cells(findings.extract(" ".join(s)).findings) for s in (sentences, sorted(sentences))}
    assert len(cells) == 1
