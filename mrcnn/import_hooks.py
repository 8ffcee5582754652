"""Run code around the import of a module that is not loaded yet. Imports nothing of this project."""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

Around = Callable[[ModuleType], contextlib.AbstractContextManager]


def around_import(name: str, around: Around) -> None:
    """Let `around(module)` be entered before the code of a module runs, and left after it, or when it fails.

    Args:
        name: of the module; nothing happens if it is loaded already.
        around: takes the module, which is empty on entry, and returns a context manager.
    """
    if name not in sys.modules:
        finder = next((known for known in sys.meta_path if isinstance(known, _Finder)), None)
        if finder is None:
            finder = _Finder()
            sys.meta_path.insert(0, finder)
        finder.around.setdefault(name, []).append(around)


def when_imported(name: str, change: Callable[[ModuleType], Any]) -> None:
    """Call `change(module)` once a module is loaded: now, or right after its import."""
    if name in sys.modules:
        change(sys.modules[name])
    else:
        around_import(name, functools.partial(_afterwards, change))


@contextlib.contextmanager
def _afterwards(change: Callable[[ModuleType], Any], module: ModuleType) -> Iterator[None]:
    yield
    change(sys.modules.get(module.__name__, module))  # a module may put another one in its place


class _Finder(importlib.abc.MetaPathFinder):
    """Finds only modules with something around their import, where Python would, and wraps their loader."""

    def __init__(self) -> None:
        self.around: dict[str, list[Around]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.around:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.around[fullname])
        return spec


class _Loader(importlib.abc.Loader):
    """Stands for another loader while it loads one module."""

    def __init__(self, loader: importlib.abc.Loader, around: Sequence[Around]) -> None:
        self.loader, self.around = loader, around

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        spec.loader = self.loader  # what asks the loaded module for resources or source finds its own loader
        module = self.loader.create_module(spec)
        spec.loader = self
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        with contextlib.ExitStack() as stack:
            for around in self.around:
                stack.enter_context(around(module))
            self.loader.exec_module(module)
