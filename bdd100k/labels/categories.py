"""Map the category names of all BDD100K releases to instance classes."""

import re
from collections.abc import Collection
from typing import Any

from bdd100k.config import CLASS_NAMES
from mrcnn.annotations.findings import UNKNOWN_NAME, Findings
from mrcnn.errors import LabelError, json_type

_ALIASES = {"bike": "bicycle", "motor": "motorcycle", "person": "pedestrian", "caravan": "car", "van": "car"}
_IGNORED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
# Categories of the detection, lane, drivable-area, semantic and panoptic files that are not instance classes.
_STUFF = """
area/alternative, area/drivable, area/unknown, alternative, banner, billboard, bridge, building, bus stop, crosswalk,
curb, direct, double other, double white, double yellow, drivable, dynamic, ego vehicle, fence, fire hydrant, garage,
ground, guard rail, lane/crosswalk, lane/double other, lane/double white, lane/double yellow, lane/road curb,
lane/single other, lane/single white, lane/single yellow, lane divider, mailbox, parking, parking sign, phone booth,
pole, pole group, rail track, road, road curb, sidewalk, single other, single white, single yellow, sky, static,
street light, terrain, traffic cone, traffic device, traffic light, traffic sign, traffic sign frame, trash can,
tunnel, unlabeled, vegetation, wall
"""


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


_BY_KEY = {
    **{_key(name): (name, False) for name in CLASS_NAMES},
    **{_key(alias): (name, False) for alias, name in _ALIASES.items()},
    **{_key(kind): (name, True) for kind, name in _IGNORED.items()},
}
_STUFF_KEYS = frozenset(_key(name) for name in _STUFF.split(","))


def normalise_category(name: str) -> tuple[str, bool] | None:
    """Return the instance class that a category name of any release stands for.

    Case, blanks, hyphens and underscores do not matter: "Other  Vehicle" is ("car", True).

    Returns:
        (one of CLASS_NAMES, whether its objects are ignored in training and evaluation), or None for any other name.
    """
    return _BY_KEY.get(_key(name))


def is_stuff(name: str) -> bool:
    """Return whether a category is a known one without instance masks (road, sky, traffic light, lane, ...)."""
    return _key(name) in _STUFF_KEYS


def plain_name(name: str) -> str:
    """Return a category name in lower case with single blanks, as BDD100K writes its official names."""
    return " ".join(name.split()).lower()


def has_all_classes(names: Collection[str]) -> bool:
    """Return whether category names are those of BDD100K: all classes by their official names, and no foreign one.

    Data of other origin may have some of these names too: its persons, or its cars beside vans, are its own classes.
    """
    plain = set(map(plain_name, names))
    return plain >= set(CLASS_NAMES) and all(normalise_category(name) or is_stuff(name) for name in plain)


def find_class(name: Any, findings: Findings) -> tuple[str, bool] | None:
    """Return the class of a label, and count the category in `findings` if it has none.

    Args:
        name: the category as the label has it.
        findings: takes the counts.

    Returns:
        As `normalise_category`; None for a known category without instances.

    Raises:
        LabelError: the category is unknown, or is not a name.
    """
    if not isinstance(name, str):
        raise LabelError(f"category is {json_type(name)}, not a name")
    found = normalise_category(name)
    if found is None:
        known, plain = is_stuff(name), plain_name(name)
        (findings.stuff if known else findings.unknown)[plain] += 1
        if not known:
            raise LabelError(f"category {plain!r} is not one of the classes", UNKNOWN_NAME)
    return found
