"""Hostile values for JSON, and their places in a document; what the generators of labels and predictions share."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

Path = tuple[str | int, ...]


class Literal(float):
    """A number as it is to stand in a file: JSON has no word for it, or Python would not write it."""

    def __new__(cls, text: str) -> "Literal":
        made = super().__new__(cls, 0.0)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    __deepcopy__ = __copy__ = lambda self, memo=None: self


def deep(levels: int) -> Any:
    """Return lists and objects inside each other."""
    return Literal('[{"a": ' * levels + "1" + "}]" * levels)


def hostile(rng: np.random.Generator) -> Any:
    """Return a value that is no coordinate, size, count or id of anything, and no plain name."""
    made = [
        None,
        True,
        [],
        {},
        "",
        " ",
        "x",
        "\ud800",
        "\udfff.jpg",
        "a\0b",
        "../../../../etc/passwd",
        "/dev/zero",
        "n" * 5000,
        "\x1b[31mred\x07",
        "\u202egnp.a",
        "[/nope]",
        "<b>&amp;",
        "Ж" * 300,
        1e300,
        -1e300,
        10**9,
        -(10**9),
        2**31,
        2**63,
        10**400,
        -(10**400),
        1e8 + 0.5,
        Literal("NaN"),
        Literal("Infinity"),
        Literal("-Infinity"),
        Literal("1e999"),
        Literal("9" * 5000),
        deep(3),
        deep(40),
        deep(400),
        deep(50000),
        [[]],
        [{}],
        [None],
        [[1e300] * 8],
        {"counts": "!!", "size": [1, 2]},
        {"size": [2**31, 2**31], "counts": [2**62]},
        {"size": [100000, 100000], "counts": [0, 10**10]},
        {"size": [12, 20], "counts": [10**400]},
        {"size": [12, 20], "counts": [-5, 245]},
        {"size": [12, 20], "counts": "0" * 1000},
        {"size": [-12, -20], "counts": [0, 240]},
        {"size": [12.5, "x"], "counts": {"a": 1}},
    ]
    return made[rng.integers(len(made))]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all values in a document but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutate(document: Any, rng: np.random.Generator) -> tuple[Any, Path, str]:
    """Replace, delete or repeat one part of a document; return the new one, the place, and what was done in words.

    Numbers in lists are only replaced: a polygon without one of its points is as good as another.
    """
    document = copy.deepcopy(document)
    found = list(places(document))
    depth = rng.choice(sorted({len(path) for path in found}))  # coordinates would else be nearly all
    same = [path for path in found if len(path) == depth]
    path = same[rng.integers(len(same))]
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    last, action = path[-1], rng.choice(["replace", "replace", "replace", "delete", "repeat"])
    if isinstance(holder, list) and not isinstance(holder[last], dict):
        action = "replace"
    if action == "delete":
        del holder[last]
    elif action == "repeat" and isinstance(holder, list):
        holder.insert(int(rng.integers(len(holder) + 1)), copy.deepcopy(holder[last]))
    else:
        holder[last] = hostile(rng)
        action = f"= {holder[last]!r:.60}"
    return document, path, f"{'.'.join(map(str, path))} {action}"


def written(document: Any, rng: np.random.Generator) -> bytes:
    """Return a document as JSON in one of its encodings, now and then with a key twice."""
    text = encoded(document)
    if rng.random() < 0.1 and isinstance(document, dict) and document:
        key = list(document)[rng.integers(len(document))]
        text = f"{text[:-1]}, {json.dumps(key)}: {encoded(hostile(rng))}}}"
    kind = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
    return text.encode(kind)


def encoded(value: Any) -> str:
    """Return a value as ASCII JSON; a Literal as it is."""
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {encoded(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(encoded, value)) + "]"
    return json.dumps(value)


def damage(data: bytes, rng: np.random.Generator, digits: bool = False) -> tuple[bytes, str]:
    """Cut, flip or insert bytes. Digits stay as they are, unless they may change: another digit is as good a number."""
    if not data:
        return bytes(rng.integers(256, size=40, dtype=np.uint8)), "noise"
    action = rng.choice(["cut", "flip", "insert", "empty", "repeat", "zeros"])
    if action == "cut":
        place = int(rng.integers(len(data)))
        return data[:place], f"cut after {place} of {len(data)} bytes"
    if action == "empty":
        return b"", "empty"
    if action == "repeat":
        return data + data, "twice in one file"
    if action == "zeros":
        return bytes(len(data)), "zeros"
    made, where = bytearray(data), []
    for _ in range(int(rng.integers(1, 5))):
        place, bit = int(rng.integers(len(made))), 1 << int(rng.integers(8))
        if action == "insert":
            made[place:place] = bytes(rng.integers(128, 256, 2, dtype=np.uint8).tolist())
        elif digits or not (chr(made[place]).isdigit() or chr(made[place] ^ bit).isdigit()):
            made[place] ^= bit
        where.append(place)
    return bytes(made), f"{action} at {where}"
