"""Settings of the built-in augmentation, and the presets for --augment of the training script.

The preset "lsj", large-scale jitter with copy-paste, is the recipe of Ghiasi et al. (arXiv:2012.07177).
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mrcnn.errors import InputError

# Preset name -> settings of Config. "lsj" needs long training: it scales a tenth of the images by less than 0.3, and
# BDD100K's objects are small to begin with.
PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "flip": {"AUGMENT_FLIP": 0.5},
    "default": {"AUGMENT_FLIP": 0.5, "AUGMENT_SCALE": (0.8, 1.25), "AUGMENT_COLOR": 0.5, "AUGMENT_MIN_AREA": 0.1},
    "strong": {
        "AUGMENT_FLIP": 0.5,
        "AUGMENT_SCALE": (0.5, 1.6),
        "AUGMENT_ROTATE": 5.0,
        "AUGMENT_COLOR": 1.0,
        "AUGMENT_BLUR": 0.1,
        "AUGMENT_WEATHER": 0.2,
        "AUGMENT_COPY_PASTE": 0.5,
        "AUGMENT_MIN_AREA": 0.1,
    },
    "lsj": {
        "AUGMENT_FLIP": 0.5,
        "AUGMENT_SCALE": (0.1, 2.0),
        "AUGMENT_COPY_PASTE": 1.0,
        "AUGMENT_MIN_AREA": 0.1,
    },
}


@dataclass(frozen=True)
class Augmentation:
    """How training images are augmented. Config has the same settings with the prefix AUGMENT_.

    Attributes:
        flip: fraction of the images that are flipped left to right.
        rotate: degrees; angles are uniform between -rotate and rotate.
        scale: (minimum, maximum) factor on top of the resize mode. The size of the moulded image stays the same, so the
            content is cropped or padded.
        min_dims: short sides in pixels; each batch draws one and scales its images to it inside the moulded image.
        color: strength of random brightness, contrast, saturation and hue, 0 to 1.
        blur: fraction of the images that are blurred.
        weather: fraction of the images that get night, fog, rain or another exposure.
        copy_paste: fraction of the images that receive objects pasted from another image, preferably of rare classes.
        min_area: minimum fraction of an object's area that must remain visible; objects with less are dropped.
    """

    flip: float = 0.0
    rotate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    min_dims: tuple[int, ...] = ()
    color: float = 0.0
    blur: float = 0.0
    weather: float = 0.0
    copy_paste: float = 0.0
    min_area: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "color", "blur", "weather", "copy_paste", "min_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"AUGMENT_{name.upper()} is {getattr(self, name)}; give a number from 0 to 1")
        if not 0 <= self.rotate <= 180:
            raise InputError(f"AUGMENT_ROTATE is {self.rotate}; give degrees from 0 to 180")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 10:
            raise InputError(f"AUGMENT_SCALE is {self.scale}; give (minimum, maximum), above 0 and at most 10")
        if any(not isinstance(side, (int, np.integer)) or side < 1 for side in self.min_dims):
            raise InputError(f"AUGMENT_MIN_DIMS is {self.min_dims}; give whole numbers of pixels, as (600, 660, 720)")

    @classmethod
    def from_config(cls, config: Any, flip: bool = False) -> "Augmentation":
        """Read the AUGMENT_* settings of a Config; with `flip`, flip at least half of the images.

        Raises:
            InputError: a setting is out of range, color or weather is set for images that are not RGB, or
                AUGMENT_MIN_DIMS is combined with a resize mode whose output size follows the image.
        """
        values = {field.name: getattr(config, f"AUGMENT_{field.name.upper()}") for field in fields(cls)}
        if values["min_dims"] and config.IMAGE_RESIZE_MODE in ("pad64", "none"):
            raise InputError(
                f"AUGMENT_MIN_DIMS needs a fixed image size, but IMAGE_RESIZE_MODE is {config.IMAGE_RESIZE_MODE!r}; "
                "use 'rect', 'square' or 'crop'"
            )
        if config.IMAGE_CHANNEL_COUNT != 3 and (values["color"] or values["weather"]):
            raise InputError(
                "AUGMENT_COLOR and AUGMENT_WEATHER need RGB images, but IMAGE_CHANNEL_COUNT is "
                f"{config.IMAGE_CHANNEL_COUNT}; set both to 0"
            )
        values["flip"] = max(values["flip"], 0.5) if flip else values["flip"]
        return cls(**{**values, "scale": tuple(values["scale"]), "min_dims": tuple(values["min_dims"])})


def preset_settings(name: str) -> list[str]:
    """Return a preset as strings "KEY=VALUE" for `Config.override`; settings that the preset does not name are off."""
    off = {f"AUGMENT_{field.name.upper()}": field.default for field in fields(Augmentation)}
    return [f"{key}={value}" for key, value in {**off, **PRESETS[name]}.items()]
