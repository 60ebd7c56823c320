"""`key=value` of the shell: read once, the same everywhere."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_max.errors import UsageError
from cxr_max.settings import pairs, typed

KEYS = st.text("abcdefghij_", min_size=1, max_size=8)
VALUES = st.text(st.characters(blacklist_categories=("Cs", "Z", "Cc")), max_size=12)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_was_written_is_read(wanted: dict[str, str]) -> None:
    assert pairs(f" {k} = {v} " for k, v in wanted.items()) == wanted


def test_a_value_may_hold_the_sign_and_empty_parts_do_not_count() -> None:
    assert pairs(["a=b=c", "", "  "]) == {"a": "b=c"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [(["a"], "'a' in --x is not key=value"), (["=1"], "is not key=value"), (["a=1", "a =2"], "a was given twice in")],
)
def test_what_is_no_setting_is_refused(parts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pairs(parts, "--x")


@dataclass(frozen=True)
class Options:
    size: str = "full"
    limit: int | None = None
    rate: float = 0.1
    check: bool = True
    trackers: tuple[str, ...] = ()


def test_options_become_what_they_are_declared_to_be() -> None:
    texts = {"size": "small", "limit": "7", "rate": "1e-3", "check": "False", "trackers": "a,b", "shrink": "true"}
    assert typed(texts, Options, "option") == {
        "size": "small", "limit": 7, "rate": 1e-3, "check": False, "trackers": ("a", "b"), "shrink": True,
    }  # fmt: skip
    assert typed({"limit": "none", "rate": 2.0}, Options, "option") == {"limit": None, "rate": 2.0}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"limit": "many"}, "allowed: int"),
        ({"check": "perhaps"}, "true or false"),
        ({"bogus": "1"}, "option of x 'bogus'"),
    ],
)
def test_an_option_that_cannot_be_is_an_error(options: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        typed(options, Options, "option of x")
