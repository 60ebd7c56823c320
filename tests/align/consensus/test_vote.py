"""The vote: who supports what, which clauses are copied, and what happens to odd panels."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max import findings
from cxr_max.align.consensus import Consensus, LeftOut, Panel, Work, vote
from cxr_max.align.consensus._support import asserted, holds, of_text, opposes, positions, supporters
from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.findings.entail import Cell
from tests.align.consensus.panels import panel

LEFT = "There is a small left pleural effusion."
LEFT_TOO = "A left pleural effusion is present."
RIGHT = "There is a right pleural effusion."
SOME = "A pleural effusion is present."
NONE = "No pleural effusion is seen."
MAYBE = "There may be a left pleural effusion."
DECLINED = "I'm sorry, I cannot interpret this image."


def written(p: Panel, **hyper: object) -> Consensus | LeftOut:
    (out,) = vote.write([p], vote.Hyper(**hyper), Work(folder=None))  # type: ignore[arg-type]
    return out


def text_of(p: Panel, **hyper: object) -> str:
    out = written(p, **hyper)
    assert isinstance(out, Consensus), out
    return out.trajectory


def said(text: str) -> frozenset[Cell]:
    return asserted(findings.extract(text).findings, "side")


@pytest.mark.parametrize(
    ("cell", "text", "holding", "opposing"),
    [
        (SOME, LEFT, True, False),
        (LEFT, SOME, False, False),
        (LEFT, RIGHT, False, False),
        (MAYBE, LEFT, True, False),
        (LEFT, MAYBE, False, False),
        (MAYBE, NONE, False, True),
        (LEFT, NONE, False, True),
        (NONE, LEFT, False, True),
        (NONE, MAYBE, False, True),
        ("No left pleural effusion.", NONE, True, False),
        (NONE, "No left pleural effusion.", False, False),
        (LEFT, DECLINED, False, False),
        (NONE, f"{LEFT} {NONE}", False, True),
    ],
)
def test_support_and_opposition(cell: str, text: str, holding: bool, opposing: bool) -> None:
    (wanted,) = said(cell)
    assert holds(wanted, said(text)) is holding
    assert opposes(wanted, said(text)) is opposing


def test_the_quorum_is_more_than_half_and_at_least_two() -> None:
    for n, k in ((1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)):
        assert vote.quorum(panel(*[LEFT] * n), vote.Hyper()) == k
    assert vote.quorum(panel(*[LEFT] * 7), vote.Hyper(k=6)) == 6


def test_worked_example() -> None:
    p = panel(
        f"# Report\n\n- {LEFT}\n- No pneumothorax.",
        f"{LEFT_TOO} The heart is enlarged.",
        f"**Pleura**\n{LEFT_TOO} No pneumothorax is seen. There is a rib fracture.",
        f"{SOME} No pneumothorax is seen. The heart is enlarged.",
        DECLINED,
    )
    out = written(p)
    assert isinstance(out, Consensus)
    # Three of five name the left side, three deny a pneumothorax, two name the heart and one a fracture.
    assert out.trajectory == f"{LEFT_TOO}\n\nNo pneumothorax is seen."
    assert out.supported_by == ("t0", "t1", "t2", "t3")
    clauses = {out.trajectory[s.start : s.end]: set() for s in out.support}
    for s in out.support:
        clauses[out.trajectory[s.start : s.end]].add(s.teacher)
    assert clauses == {LEFT_TOO: {"t0", "t1", "t2"}, "No pneumothorax is seen.": {"t0", "t2", "t3"}}
    # With k = 2 the heart passes; with k = 4 only the effusion without its side does.
    assert "heart" in text_of(p, k=2)
    assert text_of(p, k=4) == SOME


def test_more_must_support_than_oppose() -> None:
    assert isinstance(written(panel(LEFT, LEFT_TOO, NONE, NONE, DECLINED), k=2), LeftOut)
    assert text_of(panel(LEFT, LEFT_TOO, LEFT, NONE, NONE), k=2) in (LEFT, LEFT_TOO)


def test_opposite_sides_do_not_add_up_to_either() -> None:
    p = panel(LEFT, LEFT, RIGHT, RIGHT)
    assert isinstance(written(p), LeftOut)
    both = "Bilateral pleural effusions are present."
    assert text_of(panel(LEFT, RIGHT, both, both, both)) == both
    # Three name each side, but only two of four say all that the sentence on both sides says.
    assert text_of(panel(LEFT_TOO, RIGHT, both, both)) == f"{LEFT_TOO} {RIGHT}"


def test_a_denial_of_everything_does_not_stand_beside_a_finding() -> None:
    normal = "No acute cardiopulmonary process."
    p = panel(f"{LEFT} {normal}", f"{LEFT} {normal}", f"{LEFT} {normal}")
    assert text_of(p) == LEFT
    assert text_of(panel(normal, normal, normal)) == normal
    broad = "No lung opacity is seen."
    narrow = "There is a right lower lobe consolidation."
    assert text_of(panel(f"{narrow} {broad}", f"{narrow} {broad}")) == narrow


def test_hedged_when_the_certain_ones_are_too_few() -> None:
    p = panel(LEFT, MAYBE, MAYBE, DECLINED)
    assert text_of(p) == MAYBE


@pytest.mark.parametrize(
    ("p", "reason"),
    [
        (panel(LEFT), vote.TOO_FEW),
        (panel([LEFT, LEFT, LEFT]), vote.TOO_FEW),
        (panel("", " \n", ""), vote.TOO_FEW),
        (panel(*[DECLINED] * 7), vote.NOTHING),
        (panel("", LEFT, "  "), vote.TOO_FEW),
        (panel(LEFT, RIGHT, NONE), vote.NOTHING),
        (panel("|||", "# #", "***", "\x00\ufffd"), vote.NOTHING),
    ],
)
def test_no_consensus_has_a_reason_and_never_an_empty_text(p: Panel, reason: str) -> None:
    assert written(p) == LeftOut("i", reason)


def test_refusals_count_among_those_with_a_text() -> None:
    assert isinstance(written(panel(LEFT, LEFT, DECLINED, DECLINED)), LeftOut)
    assert text_of(panel(LEFT, LEFT, LEFT, DECLINED, DECLINED)) == LEFT


def test_a_teacher_holds_what_most_of_its_generations_say() -> None:
    assert isinstance(written(panel([LEFT, NONE], [LEFT, NONE], LEFT)), LeftOut)
    assert text_of(panel([LEFT, LEFT_TOO, NONE], [NONE, LEFT, LEFT], DECLINED)) in (LEFT, LEFT_TOO)


def test_a_heading_a_clause_needs_comes_with_it() -> None:
    p = panel("**Pneumothorax:** none.", "No pneumothorax.", "## Left lung\n- Consolidation is seen at the base.")
    assert text_of(p) in ("Pneumothorax: none.", "No pneumothorax.")
    heading = "## Left lung\n\n- There is a pleural effusion."
    out = text_of(panel(heading, heading))
    assert said(out) == said(LEFT)


def test_markup_tables_and_labels_are_taken_off() -> None:
    table = "| Finding | Where |\n|---|---|\n| A left pleural effusion is present | small |"
    out = text_of(panel(table, table))
    assert "|" not in out
    marked = "- **Observation:** There is a `left` **pleural effusion**."
    assert text_of(panel(marked, marked)) == "There is a left pleural effusion."


def test_what_nobody_else_words_so_is_avoided() -> None:
    huge = "There is a massive 9.4 cm left pleural effusion."
    assert text_of(panel(huge, LEFT_TOO, LEFT_TOO)) == LEFT_TOO
    back = "This is a left pleural effusion."
    assert text_of(panel(back, back, LEFT)) == LEFT


def test_prompted_findings_come_first_and_denials_last() -> None:
    text = f"No pneumothorax is seen. The heart is enlarged. {LEFT}"
    out = text_of(panel(text, text, diseases=("Pleural Effusion", "Cardiomegaly")))
    assert out == f"{LEFT} The heart is enlarged.\n\nNo pneumothorax is seen."
    turned = text_of(panel(text, text, diseases=("Cardiomegaly",)))
    assert turned == f"The heart is enlarged. {LEFT}\n\nNo pneumothorax is seen."


def test_a_million_characters() -> None:
    long = ("Effusion of words without an end " * 31_250) + LEFT
    assert len(long) > 1_000_000
    assert text_of(panel(long, LEFT, LEFT)) == LEFT


@pytest.mark.parametrize(("setting", "error"), [({"k": 1}, UsageError), ({"level": "lung"}, UnknownNameError)])
def test_settings_are_checked(setting: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises((error, UsageError)):
        vote.Hyper(**setting)  # type: ignore[arg-type]


SENTENCES = (
    LEFT, LEFT_TOO, RIGHT, SOME, NONE, MAYBE, "The heart is enlarged.", "The heart size is normal.",
    "No consolidation, pneumothorax or pleural effusion.", "Bibasilar atelectasis is seen.", "No acute process.",
    "There is consolidation in the right lower lobe.", "Pneumonia cannot be excluded.", "An endotracheal tube is seen.",
    "Atelectasis refers to collapse of lung tissue.", "**Pneumothorax:** none.", "This may be edema <|im_end|>.",
    "## Left lung", "- There is a pleural effusion", "Follow-up is advised.",
)  # fmt: skip
ESSAYS = st.lists(st.lists(st.sampled_from(SENTENCES), max_size=6).map("\n".join), min_size=2, max_size=7)


@settings(max_examples=150)
@given(ESSAYS, st.sampled_from([None, 2, 3]), st.sampled_from(["concept", "side", "zone"]))
def test_every_clause_keeps_the_promise(essays: list[str], k: int | None, level: str) -> None:
    p = panel(*essays)
    hyper = vote.Hyper(k=k, level=level)  # type: ignore[arg-type]
    (out,) = vote.write([p], hyper, Work(folder=None))  # type: ignore[arg-type]
    if isinstance(out, LeftOut):
        assert out.reason in (vote.NOTHING, vote.TOO_FEW)
        return
    held = positions(p, [findings.extract(a.text).findings for a in p.answers], hyper.level)
    # Read back by the extractor, every clause has its k supporters and the ones the table names.
    read = of_text(out.trajectory, held, hyper.level)
    assert [(s.end, s.teacher) for s in read] == [(s.end, s.teacher) for s in out.support]
    spans = [(s.start, s.end) for s in out.support]
    assert min(spans.count(x) for x in set(spans)) >= vote.quorum(p, hyper)
    clauses = [out.trajectory[a:b] for a, b in sorted(set(spans))]
    assert len(set(clauses)) == len(clauses)
    assert out.trajectory.split() == " ".join(clauses).split()
    # Nothing is said twice in the same words, and nothing contradicts.
    cells = asserted(findings.extract(out.trajectory).findings, hyper.level)
    assert not any(opposes(c, cells) for c in cells)
    assert all(len(supporters(c, held)) >= vote.quorum(p, hyper) for clause in clauses for c in _cells(clause, hyper))


def _cells(clause: str, hyper: vote.Hyper) -> frozenset[Cell]:
    return asserted(findings.extract(clause).findings, hyper.level)


@settings(max_examples=40)
@given(ESSAYS, st.integers(0, 2**32))
def test_names_and_order_of_teachers_do_not_matter_for_what_passes(essays: list[str], seed: int) -> None:
    p = panel(*essays)
    order = list(range(len(p.answers)))
    random.Random(seed).shuffle(order)
    answers = sorted(a._replace(teacher=f"t{order[i]}") for i, a in enumerate(p.answers))
    one, other = vote.choose(p, vote.Hyper()), vote.choose(p._replace(answers=tuple(answers)), vote.Hyper())
    assert [c.text for c in one] == [c.text for c in other]


@settings(max_examples=100)
@given(st.lists(st.text(max_size=200), min_size=2, max_size=4))
def test_any_text_is_read(essays: list[str]) -> None:
    out = written(panel(*essays, *essays))
    assert isinstance(out, LeftOut) or out.trajectory.strip()
