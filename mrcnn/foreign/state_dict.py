"""Find the weights in what a training program saved: which dictionary they are in, and their names."""

import logging
from typing import Any

from mrcnn.foreign.stand_ins import STORED, RefusedError, Stored
from mrcnn.text import one_line

# Keys under which programs save the weights, the first of them is taken; averaged weights come last.
WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_state", "module", "params", "net", "network", "weights"),
    *("blobs", "ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema"),
)
# Beginnings of keys beside the weights that are states of training
TRAINING = (
    "optim",
    "lr_sched",
    "sched",
    "param_sched",
    "scaler",
    "grad_scaler",
    "amp",
    "callbacks",
    "loops",
    "message",
)
PREFIXES = ("module.", "model.", "_orig_mod.")  # of DataParallel, Lightning and torch.compile
DEEPEST = 3  # dictionaries around the weights
MOST_TENSORS = 100_000
MOST_PLAIN, DEEPEST_PLAIN, LONGEST_PLAIN = 100_000, 20, 1 << 20  # values, lists in each other, characters of a text

logger = logging.getLogger(__name__)


def find(saved: Any, name: str) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the tensors by name, and the plain values beside them, of what a file holds.

    Entries of a dictionary "meta" are among the plain values themselves. A log line says what was chosen or left out.

    Args:
        saved: a dictionary of tensors, or dictionaries around one.
        name: of the file, for the log.

    Raises:
        RefusedError: there are no tensors, or several dictionaries of them of which none is known to be the weights.
    """
    meta: dict[str, Any] = {}
    plain = _Plain()
    for _ in range(DEEPEST):
        if not isinstance(saved, dict):
            break
        key = _inner(saved, name)
        for other, value in saved.items():
            if isinstance(other, str) and other != key and not other.lower().startswith(TRAINING):
                plain.add(meta, other, value)
        if key is None:
            return _named(saved, name, meta), meta
        saved = saved[key]
    raise RefusedError("it has no tensors; give a file with the weights of a model")


def without_prefixes(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors without the prefixes of wrappers that all their names have: "module.conv1" -> "conv1"."""
    while tensors:
        prefix = next((p for p in PREFIXES if all(name.startswith(p) and name != p for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _inner(saved: dict, name: str) -> str | None:
    """Return the key of the dictionary that the weights are in; None if it is this dictionary itself."""
    holding: dict[tuple[int, int], bool] = {}
    found = [key for key in WRAPPERS if key in saved and _holds(saved[key], DEEPEST - 1, holding)]
    if len(found) > 1:
        logger.info("%s: has weights in %s; took %r", name, ", ".join(map(repr, found)), found[0])
    if found or any(isinstance(value, STORED) for value in saved.values()):
        return found[0] if found else None
    keys = (key for key in saved if isinstance(key, str) and not key.lower().startswith(TRAINING))
    others = [key for key in keys if _holds(saved[key], DEEPEST - 1, holding)]
    if len(others) > 1:
        listed = ", ".join(repr(one_line(key)) for key in others[:10])
        raise RefusedError(f"it has tensors in {listed}; save the dictionary of the model alone")
    return others[0] if others else None


def _holds(value: Any, depth: int, known: dict[tuple[int, int], bool]) -> bool:
    """Return whether there are tensors in a dictionary, or in those inside of it."""
    if not isinstance(value, dict):
        return False
    place = (id(value), depth)
    if place not in known:
        known[place] = False  # it may hold itself
        inside = value.values()
        known[place] = any(isinstance(item, STORED) for item in inside) or (
            depth > 0 and any(_holds(item, depth - 1, known) for item in inside)
        )
    return known[place]


def _named(saved: dict, name: str, meta: dict[str, Any]) -> dict[str, Stored]:
    """Return the tensors of a dictionary, without common prefixes."""
    tensors = {key: value for key, value in saved.items() if isinstance(value, STORED)}
    if not tensors:
        raise RefusedError("it has no tensors; give a file with the weights of a model")
    if len(tensors) > MOST_TENSORS:
        raise RefusedError(f"it has {len(tensors)} tensors, more than any network")
    if not all(isinstance(key, str) for key in tensors):
        raise RefusedError("it has tensors whose names are no texts; save a dictionary of names and tensors")
    left_out = [key for key in saved if key not in tensors and key not in meta]
    if left_out:
        listed = ", ".join(one_line(key) if isinstance(key, str) else "a key" for key in left_out[:10])
        logger.info("%s: left out %d entries that are no tensors: %s", name, len(left_out), listed)
    return without_prefixes(tensors)


class _Plain:
    """Collects values of JSON's types, up to a number of them in total."""

    def __init__(self) -> None:
        self.left = MOST_PLAIN

    def add(self, meta: dict[str, Any], key: str, value: Any) -> None:
        """Add what is plain of an entry, or of those of "meta"; the first of a name stays."""
        if key == "meta" and isinstance(value, dict):
            for inner, item in value.items():
                if isinstance(inner, str):
                    self.add(meta, inner, item) if inner != "meta" else None
            return
        found = self.plain(value, DEEPEST_PLAIN)
        if found is not self:
            meta.setdefault(key, found)

    def plain(self, value: Any, depth: int) -> Any:
        """Return a value with lists for tuples and without what is not plain in it; this object if nothing is left."""
        self.left -= 1
        if self.left < 0 or depth < 0:
            return self
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= 1024 else self
        if isinstance(value, str):
            return value if len(value) <= LONGEST_PLAIN else self
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        return self._dictionary(value, depth) if isinstance(value, dict) else self

    def _list(self, value: list | tuple, depth: int) -> Any:
        if len(value) > self.left:
            return self
        items = [self.plain(item, depth - 1) for item in value]
        return self if any(item is self for item in items) else items

    def _dictionary(self, value: dict, depth: int) -> Any:
        if len(value) > self.left:
            return self
        entries = {key: self.plain(item, depth - 1) for key, item in value.items() if isinstance(key, str | int)}
        kept = {key: item for key, item in entries.items() if item is not self}
        return kept if kept or not value else self
