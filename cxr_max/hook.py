"""Makes `datasets.load_dataset("cxr-max", ...)` work once `cxr_max` is imported, without importing `datasets`.

A finder on `sys.meta_path` waits for `datasets.load`; when that module has run, its `dataset_module_factory` answers
for exactly this one name and passes every other on. The factory never sees `release=` and `mimic_root=`: those reach
the builder, which is why a builder of our own is named here instead of a folder.

`CXR_MAX_NO_HOOK=1` keeps `import cxr_max` from installing it; `cxr_max.load_dataset` does not depend on it.
"""

import functools
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from cxr_max.errors import CxrMaxWarning

NAME = "cxr-max"
BUILDER_MODULE = "cxr_max.data.builder"
_TARGET = "datasets.load"
# datasets.inspect holds a reference of its own to the factory.
_HOLDERS = (_TARGET, "datasets.inspect")
_FACTORY = "dataset_module_factory"
_MARK = "__cxr_max_wraps__"


def register() -> None:
    """Install the hook: now when `datasets` is loaded, else at the moment it will be. Repeating it changes nothing."""
    if not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for holder in _HOLDERS:
        module = sys.modules.get(holder)
        if module is not None and hasattr(module, _FACTORY):
            _patch(module)


def unregister() -> None:
    """Take the hook out again and restore the factory of `datasets`."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Finder)]
    for holder in _HOLDERS:
        module = sys.modules.get(holder)
        original = getattr(getattr(module, _FACTORY, None), _MARK, None)
        if module is not None and original is not None:
            setattr(module, _FACTORY, original)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _TARGET:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, _Finder) or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, inner: importlib.abc.Loader) -> None:
        self._inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its own loader: inspect, pickle and reload look at it.
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        _patch(module)


def _patch(module: ModuleType) -> None:
    factory: Callable[..., Any] | None = getattr(module, _FACTORY, None)
    if hasattr(factory, _MARK):
        return
    load = sys.modules.get(_TARGET, module)
    if factory is None or not hasattr(load, "DatasetModule"):
        warnings.warn(
            f'this version of `datasets` is built differently: load_dataset("{NAME}") stays unknown to it; '
            "cxr_max.load_dataset works",
            CxrMaxWarning,
            stacklevel=2,
        )
        return
    setattr(module, _FACTORY, _answering(factory, load.DatasetModule))


def _answering(factory: Callable[..., Any], answer: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != NAME:
            return factory(path, *args, **kwargs)
        revision = args[0] if args else kwargs.get("revision")
        # The builder puts the hash of the release's manifest in place of this one.
        return answer(BUILDER_MODULE, NAME, {"dataset_name": NAME, "revision": revision})

    setattr(dataset_module_factory, _MARK, factory)
    return dataset_module_factory
