"""One consistent surface: the same option means the same in every verb, and every verb names its commands alike."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import pytest
import typer
from typer.models import OptionInfo

from cxr_max import cli
from cxr_max.cli import _options as shared_options


class Option(NamedTuple):
    """One option of one command, as its function declares it."""

    command: str
    name: str
    help: str
    type: str


def _commands(app: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[..., Any], str]]:
    for info in app.registered_commands:
        callback = info.callback
        assert callback is not None
        name = info.name or callback.__name__.replace("_", "-")
        yield " ".join((*path, name)), callback, info.help or callback.__doc__ or ""
    for group in app.registered_groups:
        assert group.typer_instance is not None
        assert group.name is not None
        yield from _commands(group.typer_instance, (*path, group.name))


def _options(command: str, callback: Callable[..., Any]) -> Iterator[Option]:
    for parameter in inspect.signature(callback).parameters.values():
        annotated = hasattr(parameter.annotation, "__metadata__")
        kind, declared = get_args(parameter.annotation)[:2] if annotated else (parameter.annotation, parameter.default)
        if not isinstance(declared, OptionInfo):
            continue
        for name in declared.param_decls or (f"--{parameter.name.replace('_', '-')}",):
            if name.startswith("--"):
                yield Option(
                    command,
                    name,
                    f"{declared.help or ''} {declared.metavar or ''}".strip(),
                    inspect.formatannotation(kind).removesuffix(" | None"),
                )


COMMANDS = {path: (callback, text) for path, callback, text in _commands(cli.application())}
OPTIONS = [o for path, (callback, _) in COMMANDS.items() for o in _options(path, callback)]
MEANINGS = {
    "--out": ("folder", "file", "where"),
    "--seed": ("seed",),
    "--json": ("json",),
    "--mimic-root": ("mimic",),
    "--root": ("name=path",),
    "--overwrite": ("replace", "exchange", "overwrite"),
    "--release": ("release",),
    "--draws": ("draws", "resampl"),
    "--limit": ("at most",),
    "--jobs": ("process",),
    "--version": ("version",),
    "--truth": ("truth",),
}
"""What the help of an option that several verbs share must speak of."""


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_an_example_of_itself(path: str) -> None:
    assert f"cxr-max {path}" in COMMANDS[path][1].split("Example:")[-1]


def test_every_option_is_explained() -> None:
    assert len(OPTIONS) > 80
    assert [o for o in OPTIONS if not o.help] == []


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_shared_option_means_the_same_everywhere(name: str) -> None:
    seen = [o for o in OPTIONS if o.name == name]
    assert seen, f"no command has {name}"
    assert [o for o in seen if not any(word in o.help.lower() for word in MEANINGS[name])] == []


def test_what_stands_in_the_shared_options_is_declared_nowhere_else() -> None:
    shared = {o.param_decls[0]: o for o in vars(shared_options).values() if isinstance(o, OptionInfo)}
    elsewhere = [
        (path, parameter.default.param_decls)
        for path, (callback, _) in COMMANDS.items()
        for parameter in inspect.signature(callback).parameters.values()
        if isinstance(parameter.default, OptionInfo)
        for name in parameter.default.param_decls or (f"--{parameter.name.replace('_', '-')}",)
        if name in shared and parameter.default is not shared[name]
    ]
    assert len(shared) >= 5
    assert elsewhere == []


def test_an_option_shared_by_several_commands_has_one_type() -> None:
    types = defaultdict(lambda: defaultdict(list))
    # bench takes several shares, F,..., where sample takes one; its rows are methods, those of diff a file.
    own = {("bench", "--fraction"), ("bench", "--rows")}
    for option in (o for o in OPTIONS if o[:2] not in own):
        types[option.name][option.type].append(option.command)
    assert {name: dict(kinds) for name, kinds in types.items() if len(kinds) > 1} == {}
