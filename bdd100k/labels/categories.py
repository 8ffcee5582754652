"""The category names of all BDD100K releases, and the instance class that each stands for."""

import logging
import re

from bdd100k.config import CLASS_NAMES

logger = logging.getLogger(__name__)

_ALIASES = {"bike": "bicycle", "motor": "motorcycle", "person": "pedestrian", "caravan": "car", "van": "car"}
_IGNORED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
# Categories of the detection, lane, drivable-area, semantic and panoptic files that no instance class covers.
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
    """The instance class that a category name of any release stands for.

    Case, blanks, hyphens and underscores do not matter: "Other  Vehicle" is ("car", True).

    Returns:
        (one of CLASS_NAMES, whether the kind is ignored in training and evaluation), or None for anything else.
    """
    return _BY_KEY.get(_key(name))


def is_stuff(name: str) -> bool:
    """Whether a category is a known one without instance masks (road, sky, traffic light, lane, ...)."""
    return _key(name) in _STUFF_KEYS
