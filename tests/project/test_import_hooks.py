"""Code around the import of a module that is not loaded yet."""

import contextlib
import importlib
import sys

import pytest

from mrcnn import import_hooks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose modules can be imported; hooks and modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, import_hooks._Finder)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_changes_come_after_the_import_in_their_order_or_at_once(folder):
    (folder / "hooked.py").write_text("value = [1]")
    import_hooks.when_imported("hooked", lambda module: module.value.append(2))
    import_hooks.when_imported("hooked", lambda module: module.value.append(3))
    hooked = importlib.import_module("hooked")
    assert sorted(hooked.value) == [1, 2, 3] and hooked.value[0] == 1
    import_hooks.when_imported("hooked", lambda module: module.value.append(4))
    assert hooked.value[-1] == 4
    assert type(hooked.__loader__).__name__ == type(hooked.__spec__.loader).__name__ == "SourceFileLoader"
    assert importlib.reload(hooked).value[0] == 1


def test_a_context_is_left_when_the_import_fails(folder):
    (folder / "broken.py").write_text("raise ImportError('broken')")
    seen = []

    @contextlib.contextmanager
    def around(module):
        seen.append(module.__name__)
        try:
            yield
        finally:
            seen.append("left")

    import_hooks.around_import("broken", around)
    with pytest.raises(ImportError, match="broken"):
        importlib.import_module("broken")
    assert seen == ["broken", "left"]
    import_hooks.around_import("absent", around)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("absent")
    assert seen == ["broken", "left"]
