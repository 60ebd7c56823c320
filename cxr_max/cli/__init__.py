"""The command line: one file per verb, found by its file name; a verb builds a config and calls one function.

A verb file defines `app` (a Typer with sub-commands) or `command` (a function), and imports typer and cxr_max only,
so that `--help` stays fast; the work is reached through the lazy attributes of `cxr_max`.
"""

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path

import typer
from rich.console import Console

from cxr_max import __version__
from cxr_max.errors import CxrMaxError

ORDER = (
    "demo", "synth", "sample", "build", "verify", "diff", "export", "publish", "mimic", "findings", "drift",
    "train", "consensus", "eval", "grade", "compare", "bench", "doctor", "roots",
)  # fmt: skip
"""How `--help` lists the verbs: along the way the data flow. A verb that is not named here comes last."""
TRACEBACK = "CXR_MAX_TRACEBACK"
"""Set to 1, an error that is not ours is shown whole, which may quote restricted data."""


def application() -> typer.Typer:
    """Put the verbs of this folder together. Not called `build`: that name becomes the verb's module once imported."""
    app = typer.Typer(
        name="cxr-max",
        help="CXR-MAX: dataset, MIMIC-CXR joins, teacher drift, APO training, evaluation.\n\nExample: cxr-max doctor",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_main)
    for name in verbs():
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name=name, help=module.command.__doc__)(module.command)
    return app


def verbs() -> list[str]:
    """Names of the verb files, in the order of the data's way."""
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return sorted(found, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))


def _version(value: bool) -> None:
    if value:
        print(f"cxr-max {__version__}")
        raise typer.Exit


def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Entry point: exit 0 done, 1 check failed, 2 wrong use, 3 bad data or an error that nobody foresaw."""
    try:
        application()()
    except CxrMaxError as e:
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"error: {e}", style="red", markup=False)
        if not e.next:
            console.print(f"  next: {' '.join(_verb(sys.argv[1:]))} --help", style="red", markup=False)
        sys.exit(e.exit_code)
    except Exception as e:
        if os.environ.get(TRACEBACK) == "1":
            raise
        _unexpected(e)
        sys.exit(3)


def _unexpected(error: Exception) -> None:
    """Say where an error of another package stopped us, and not what it says: it may quote a row or a report."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "cxr_max" in f.filename), last)
    where = f"{Path(ours.filename).name}:{ours.lineno}"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(
        f"error: {type(error).__module__}.{type(error).__name__} at {where}; what it says is not shown, since it may "
        "quote restricted data\n  next: cxr-max verify RELEASE, and cxr-max mimic check, find damaged files; "
        f"{TRACEBACK}=1 shows everything",
        style="red",
        markup=False,
    )


def _verb(arguments: list[str]) -> list[str]:
    """The command without its options and arguments: `cxr-max mimic join`."""
    words = ["cxr-max", *(a for a in arguments[:1] if a in verbs())]
    if len(words) == 2 and hasattr(importlib.import_module(f"{__name__}.{words[1]}"), "app"):
        words += arguments[1:2]
    return words
