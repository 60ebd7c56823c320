"""Errors of cxr-max: each says what came, what was allowed and what to do next.

Every child is also the standard-library type a caller would catch without knowing us. All of them pickle,
since they cross process boundaries in data loaders and worker pools.
"""

from collections.abc import Iterable
from typing import ClassVar


class CxrMaxError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: what came and what was allowed, without any restricted content (no report text, no ids).
        next: the command or change that gets the user further; may be empty.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, problem: str, *, next: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.next = next

    def __str__(self) -> str:
        return f"{self.problem}\n  next: {self.next}" if self.next else self.problem

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.next))


def _rebuild(kind: type[CxrMaxError], problem: str, next: str) -> CxrMaxError:
    return kind(problem, next=next)


class UsageError(CxrMaxError, ValueError):
    """Wrong use: an option or argument outside what is allowed (exit code 2)."""

    exit_code = 2


class UnknownNameError(UsageError, LookupError):
    """A name that is not among the known ones; the known ones are listed."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[str], *, next: str = "") -> "UnknownNameError":
        """Build the error from the kind of thing, the name that came and the names that exist."""
        listed = ", ".join(sorted(known)) or "none"
        return cls(f"unknown {kind} {name!r}; known: {listed}", next=next)


class MissingExtraError(CxrMaxError, ImportError):
    """An optional package is missing or too old; names it and the install command (exit code 2)."""

    exit_code = 2


class MissingFileError(CxrMaxError, FileNotFoundError):
    """A file or folder that is needed is not there (exit code 3)."""


class DataError(CxrMaxError, ValueError):
    """Data that break their contract: unreadable, truncated, of another schema (exit code 3)."""


class CheckFailedError(CxrMaxError, RuntimeError):
    """A check ran to its end and found something wrong (exit code 1)."""

    exit_code = 1


class DivergedError(CheckFailedError):
    """A loss or a gradient became infinite or undefined, so there is nothing to train on (exit code 1)."""


class RestrictedDataError(CxrMaxError, PermissionError):
    """An attempt to take data of class derived or source where it may not go (exit code 2)."""

    exit_code = 2


class CxrMaxWarning(UserWarning):
    """Something the user should know that does not stop the work."""
