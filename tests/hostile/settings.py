"""Settings with values of wrong types, out of range, or of the wrong length, given as with --set."""

import pathlib

import numpy as np

from bdd100k.config import StreetsConfig
from tests.hostile.cases import Case

VALUES = (
    "0",
    "-1",
    "5.0",
    "1e400",
    "nan",
    "(0, 0, 0, 0)",
    "('a', 'b')",
    "{'((': 1}",
    "None",
    "''",
    "True",
    "1e9",
    "[]",
)


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Give one setting a value that may have no sense for it."""
    name, value = str(rng.choice(StreetsConfig().settable())), str(rng.choice(VALUES))

    def use() -> object:
        config = StreetsConfig().override([f"{name}={value}"])
        config.validate()
        return getattr(config, name)

    return Case(f"{name}={value}", use, lambda result: True)
