"""Shared fixtures. Figures of the original code come from tests/golden."""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest

from tests.streams import regenerated

TESTS = pathlib.Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


class Golden:
    """The recorded outputs of the original code in tests/golden, by name; see README.md there."""

    def __init__(self) -> None:
        self.folder = TESTS / "golden"
        self._npz: dict[str, dict[str, np.ndarray]] = {}

    def npz(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of a file, including those that are regenerated from their seeds."""
        if name not in self._npz:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
                self._npz[name] = dict(file) | regenerated(name)
        return dict(self._npz[name])

    def json(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Return the folder of real photographs and labels. They cannot be shipped, so tests skip if it is missing."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real samples are not at {folder}")
    return folder
