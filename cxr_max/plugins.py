"""The file name is the registry: a plug-in is a module in a known folder, or in someone else's package.

Third parties add the same from their own distribution through an entry point of the registry's group.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cxr_max.errors import CxrMaxError, UnknownNameError, UsageError


@dataclass(frozen=True)
class Registry:
    """All plug-ins of one kind.

    Attributes:
        kind: what one plug-in is called in messages, such as "method".
        package: dotted name of the folder that holds our own.
        group: entry point group for those of other packages.
        attributes: names every plug-in module must define.
        beside: modules in our own folder that are no plug-ins.
    """

    kind: str
    package: str
    group: str
    attributes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def own(self) -> tuple[str, ...]:
        """Names of the modules in our own folder, sorted."""
        path = importlib.import_module(self.package).__path__
        found = (m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))
        return tuple(sorted(n for n in found if n not in self.beside))

    def names(self) -> tuple[str, ...]:
        """All names: our own first, then those of installed packages, each part sorted."""
        own = self.own()
        theirs = {e.name for e in importlib.metadata.entry_points(group=self.group)}
        return own + tuple(sorted(theirs - set(own)))

    def get(self, name: str) -> ModuleType:
        """Import a plug-in by name, or by the path of a Python file.

        Raises:
            UnknownNameError: no such name; the known ones are listed.
            UsageError: the module lacks a name its kind must define.
        """
        if name.endswith(".py"):
            module = _from_file(Path(name))
        elif name in self.own():
            module = importlib.import_module(f"{self.package}.{name}")
        else:
            found = [e for e in importlib.metadata.entry_points(group=self.group) if e.name == name]
            if not found:
                raise UnknownNameError.of(self.kind, name, self.names())
            module = found[0].load()
        missing = [a for a in self.attributes if not hasattr(module, a)]
        if missing:
            raise UsageError(
                f"{self.kind} {name!r} does not define {', '.join(missing)}; needed: {', '.join(self.attributes)}",
                next="see CONTRIBUTING.md, 'One place to add'",
            )
        return module


def _from_file(path: Path) -> ModuleType:
    """A module from a file, under a name of its own, so that no file takes the place of an installed module.

    Raises:
        UsageError: there is no such file, or it cannot be imported; the line is named.
    """
    name = f"cxr_max_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"no Python file at {path}")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name when annotations are texts.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except CxrMaxError:
        raise
    except Exception as e:
        raise UsageError(f"{path} cannot be imported: {where(e, path)}{type(e).__name__}: {e}") from e
    return module


def is_ours(module: ModuleType) -> bool:
    """Whether a plug-in is one of this package."""
    return module.__name__.startswith("cxr_max.")


@contextmanager
def blamed(module: ModuleType) -> Iterator[None]:
    """Say of an error that came out of a user's plug-in where it was raised; its text may quote data and stays out.

    Raises:
        UsageError: with file, line and kind of the error.
    """
    try:
        yield
    except CxrMaxError:
        raise
    except Exception as e:
        if is_ours(module):
            raise
        file = Path(str(module.__file__))
        raise UsageError(f"{file.name}: {where(e, file)}{type(e).__name__}", next=f"see {file}") from e


def code_of(module: ModuleType) -> str:
    """SHA-256 of a plug-in's file when it is not ours; empty for ours, which the version of this package stands for."""
    if is_ours(module) or getattr(module, "__file__", None) is None:
        return ""
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def where(error: BaseException, path: Path) -> str:
    """`line N: ` of the last place in a file that an error came through; empty when there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename) == path or Path(f.filename) == path.resolve()]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        lines.append(error.lineno)
    return f"line {lines[-1]}: " if lines else ""


def expose(package: str, wrap: Callable[[ModuleType], Any]) -> None:
    """Let a package's plug-in modules appear, as its attributes, as what `wrap` makes of them.

    Python sets a module as an attribute of its package whenever it is imported, by whatever road; so `metrics.bleu`
    would be a function or a module depending on who imported what before.
    """

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            is_plugin = isinstance(value, ModuleType) and value.__name__ == f"{package}.{name}"
            super().__setattr__(name, wrap(value) if is_plugin else value)

    sys.modules[package].__class__ = Package


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__` that import a name, or a module of the package, when it is first used.

    Importing the package then loads none of the heavy libraries that its modules need.

    Args:
        package: the package's `__name__`.
        homes: public name -> the module of the package that defines it.
    """

    def modules() -> set[str]:
        path = sys.modules[package].__path__
        return {m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")}

    def find(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if not name.startswith("_") and name in modules():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted({*homes, *modules()})
