"""What a setting may be: the rules that `Config` checks its settings with and that its documentation prints."""

import abc
import argparse
import dataclasses
import functools
import math
import re
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.text import printable


class Rule(abc.ABC):
    """The values that a setting may have. `str(rule)` says them in words, to follow "give"."""

    @abc.abstractmethod
    def fits(self, value: Any) -> bool:
        """Return whether a setting may have this value, of any type."""

    def check(self, name: str, value: Any) -> None:
        """Raise InputError if a setting of this name may not have this value."""
        if not self.fits(value):
            raise InputError(f"{name} is {reprlib.repr(value)}; give {self}")

    def stored(self, value: Any) -> Any:
        """Return a value that fits in the type that the network and JSON files need: numpy's numbers as Python's."""
        return value

    def __or__(self, other: "Rule") -> "Either":
        return Either(self, other)


@dataclasses.dataclass(frozen=True)
class Number(Rule):
    """A finite number from `low` to `high`.

    Attributes:
        low: minimum.
        high: maximum.
        whole: whether it must be a whole number; 100.0, the result of a division, is one.
        round_up: whether a fraction becomes the next whole number, as it did in Matterport's loop over steps.
        above_low: whether `low` itself is excluded.
        below_high: whether `high` itself is excluded.
    """

    low: float
    high: float
    whole: bool = False
    round_up: bool = False
    above_low: bool = False
    below_high: bool = False

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`. A truth value is no number, and NaN is in no range."""
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            return False
        if not self.low <= value <= self.high or (self.whole and not self.round_up and value != int(value)):
            return False
        return not ((self.above_low and value == self.low) or (self.below_high and value == self.high))

    def stored(self, value: Any) -> Any:
        """See `Rule.stored`."""
        value = value.item() if isinstance(value, np.generic) else value
        return math.ceil(value) if self.whole else value

    def __str__(self) -> str:
        return f"a{' whole' if self.whole else ''} number {self.span}"

    @property
    def span(self) -> str:
        """From where to where, in words."""
        low, high = _short(self.low), _short(self.high)
        if not self.above_low and not self.below_high:
            return f"from {low} to {high}"
        return f"{'above' if self.above_low else 'from'} {low} and {'below' if self.below_high else 'at most'} {high}"


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One of some values: texts, truth values or None."""

    values: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`. Truth values may be 0 and 1, as in old code."""
        if isinstance(value, np.bool_ | int):
            return any(isinstance(known, bool) and known == value for known in self.values)
        return (value is None or isinstance(value, str)) and value in self.values

    def stored(self, value: Any) -> Any:
        """See `Rule.stored`."""
        return bool(value) if isinstance(value, np.bool_ | int) else value

    def __str__(self) -> str:
        return _joined([str(value) for value in self.values])


@dataclasses.dataclass(frozen=True)
class Numbers(Rule):
    """A list, tuple or array of numbers: `count` of them, or any number of them from `least` on."""

    each: Number
    count: int | None = None
    least: int = 0

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`."""
        if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and value.ndim != 1):
            return False
        if len(value) < self.least or (self.count is not None and len(value) != self.count):
            return False
        return all(map(self.each.fits, value))

    def stored(self, value: Any) -> Any:
        """See `Rule.stored`; an array stays one."""
        return value if isinstance(value, np.ndarray) else type(value)(map(self.each.stored, value))

    def __str__(self) -> str:
        least = f"a list of at least {self.least}" if self.least else "a list of"
        count = least if self.count is None else str(self.count)
        return f"{count}{' whole' if self.each.whole else ''} numbers {self.each.span}"


@dataclasses.dataclass(frozen=True)
class Factors(Rule):
    """A dictionary of numbers whose keys are some of the `names`, or without names regular expressions."""

    each: Number
    names: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`."""
        return isinstance(value, dict) and all(map(self._knows, value)) and all(map(self.each.fits, value.values()))

    def _knows(self, key: Any) -> bool:
        return key in self.names if self.names else isinstance(key, str) and is_regex(key)

    def stored(self, value: Any) -> Any:
        """See `Rule.stored`."""
        return {key: self.each.stored(number) for key, number in value.items()}

    def __str__(self) -> str:
        keys = f"whose keys are some of {_joined(self.names, 'and')}" if self.names else "of regular expressions"
        return f"a dictionary {keys} with {self.each} for each"


class Name(Rule):
    """A text that every system takes as the name of a folder."""

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`."""
        if not isinstance(value, str) or not 0 < len(value.encode("utf-8", "replace")) <= 100:
            return False
        plain = value == printable(value) == value.strip(". ")
        return plain and not any(letter in value for letter in "/\\{}\n\t")  # {epoch:04d} is put in

    def __str__(self) -> str:
        return "a name that a folder can have, of at most 100 bytes and without slashes or braces"


class Function(Rule):
    """A function."""

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`."""
        return callable(value)

    def __str__(self) -> str:
        return "a function"


@dataclasses.dataclass(frozen=True)
class Either(Rule):
    """What one of two rules allows."""

    first: Rule
    second: Rule

    def fits(self, value: Any) -> bool:
        """See `Rule.fits`."""
        return self.first.fits(value) or self.second.fits(value)

    def stored(self, value: Any) -> Any:
        """See `Rule.stored`."""
        return (self.first if self.first.fits(value) else self.second).stored(value)

    def __str__(self) -> str:
        return f"{self.first}, or {self.second}"


def whole(low: int, high: int) -> Number:
    """Return the rule of a whole number from `low` to `high`."""
    return Number(low, high, whole=True)


def one_of(*values: Any) -> Choice:
    """Return the rule of a choice."""
    return Choice(values)


NONE = Choice((None,))
FLAG = Choice((True, False))
FRACTION = Number(0, 1)
POSITIVE_FRACTION = Number(0, 1, above_low=True)


def number_type(rule: Number) -> Callable[[str], float]:
    """Return an argparse type for the numbers of a rule."""
    return functools.partial(parse_number, rule)


def parse_number(rule: Number, text: str) -> float:
    """Parse a number of the command line. Raises ArgumentTypeError, with the words of the rule, if it does not fit."""
    try:
        value = int(text) if rule.whole else float(text)
    except ValueError:
        value = math.nan
    if not rule.fits(value):
        raise argparse.ArgumentTypeError(f"{reprlib.repr(text)} is not {rule}")
    return value


def is_regex(text: str) -> bool:
    """Return whether a text is a regular expression."""
    try:
        return bool(re.compile(text))
    except (re.error, OverflowError, RecursionError):
        return False


def _short(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _joined(words: Sequence[str], last: str = "or") -> str:
    return ", ".join(words[:-1]) + f" {last} {words[-1]}" if len(words) > 1 else words[0]
