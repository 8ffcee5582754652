"""Shared fixtures. Figures of the original code come from tests/golden, the larger files from ../shared/golden."""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest

TESTS = pathlib.Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


class Golden:
    """Finds the recorded outputs of the original code by name."""

    def path(self, name: str) -> pathlib.Path:
        for folder in (TESTS / "golden", SHARED / "golden"):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"golden file {name} is neither in tests/golden nor in {SHARED / 'golden'}")

    def npz(self, name: str) -> "np.lib.npyio.NpzFile":
        return np.load(self.path(f"{name}.npz"), allow_pickle=False)

    def json(self, name: str) -> dict:
        return json.loads(self.path(f"{name}.json").read_text())


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder with real photographs and labels; they may not be shipped, so the test skips where they are not."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real samples are not at {folder}")
    return folder
