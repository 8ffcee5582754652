"""Give the standard library and PyYAML back what newer releases removed and scripts of 2017 to 2019 use."""

import collections
import collections.abc
import fractions
import functools
import importlib
import importlib.util
import inspect
import json
import math
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")


def restore_standard_library() -> None:
    """Give Python back time.clock, collections.Mapping, inspect.getargspec, fractions.gcd, and json its `encoding`."""
    for name in collections.abc.__all__:
        add(collections, name, getattr(collections.abc, name))
    add(time, "clock", time.perf_counter)
    add(inspect, "getargspec", _getargspec)
    for name in ("load", "loads"):
        setattr(json, name, without_argument(getattr(json, name), "encoding"))
    add(fractions, "gcd", math.gcd)


def imp_module(name: str) -> ModuleType:
    """Return a module with what scripts take from `imp`, which Python 3.12 removed."""
    module = ModuleType(name)
    vars(module).update(
        load_source=_load_source,
        reload=importlib.reload,
        new_module=ModuleType,
    )
    return module


def restore_yaml(yaml: ModuleType) -> None:
    """Let yaml.load work without a loader, with FullLoader as in PyYAML 5; add yaml.warnings, its switch."""
    load = yaml.load

    @functools.wraps(load)
    def load_with_default(stream: Any, Loader: Any = yaml.FullLoader) -> Any:
        return load(stream, Loader)

    yaml.__dict__["load"] = load_with_default
    add(yaml, "warnings", lambda settings=None: {})


def without_argument(function: Any, name: str) -> Any:
    """Return a function that takes and drops a keyword argument that it has lost; applied twice, it stays the same."""
    if name in getattr(function, "dropped", ()):
        return function

    @functools.wraps(function)
    def tolerant(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop(name, None)
        return function(*args, **kwargs)

    tolerant.dropped = (*getattr(function, "dropped", ()), name)  # type: ignore[attr-defined]
    return tolerant


def add(owner: Any, name: str, value: Any) -> None:
    """Give a module or class a name that it lacks; one that it has stays as it is."""
    if name not in vars(owner):
        setattr(owner, name, value)


def fall_back(module: ModuleType, find: Callable[[str], Any]) -> None:
    """Let names that a module lacks be looked up by `find(name)`, which returns None for what does not exist."""
    add(module, "__getattr__", functools.partial(_found, module.__name__, find))


def _found(module: str, find: Callable[[str], Any], name: str) -> Any:
    value = None if name.startswith("__") else find(name)
    if value is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return value


def _getargspec(function: Any) -> Any:
    spec = inspect.getfullargspec(function)
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def _load_source(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
