"""Errors pickle, are standard-library errors too, and end with the next command."""

import pickle

import pytest

from cxr_max import errors

CHILDREN = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.CxrMaxError)]


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_error_survives_pickling(kind: type[errors.CxrMaxError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what came", next="cxr-max doctor")))
    assert type(error) is kind
    assert (error.problem, error.next) == ("what came", "cxr-max doctor")
    assert str(error) == "what came\n  next: cxr-max doctor"


@pytest.mark.parametrize("kind", [k for k in CHILDREN if k is not errors.CxrMaxError])
def test_every_child_is_a_standard_error_too(kind: type[errors.CxrMaxError]) -> None:
    assert any(b.__module__ == "builtins" and b not in (Exception, BaseException, object) for b in kind.__mro__)
    assert kind.exit_code in (1, 2, 3)


def test_message_without_a_next_step_is_the_problem_alone() -> None:
    assert str(errors.DataError("broken")) == "broken"


def test_unknown_name_lists_the_known_ones_sorted() -> None:
    error = errors.UnknownNameError.of("split", "dev2", ("train", "test"))
    assert str(error) == "unknown split 'dev2'; known: test, train"
    assert isinstance(error, LookupError)
    assert "none" in str(errors.UnknownNameError.of("row", "x", ()))
