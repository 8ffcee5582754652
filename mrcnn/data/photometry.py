"""Photometric augmentation: colour jitter, blur, weather and time of day. Objects stay where they are.

All functions work in place on the image inside its padding, so that the padding stays black. Images are uint8 [h, w, 3]
RGB.
"""

import cv2
import numpy as np

from mrcnn.augment_settings import Augmentation

_GRAY = np.array([0.299, 0.587, 0.114])  # luma of RGB (ITU-R BT.601)


def relight(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> None:
    """Change colours, weather and sharpness at random.

    Args:
        image: uint8 [h, w, 3] RGB, possibly a view of the image inside its padding; changed in place. Blur alone takes
            any channels, in uint8 or float32.
        augmentation: color, blur and weather are read.
        rng: generator of this image.
    """
    if image.size == 0:
        return
    if augmentation.color:
        jitter_color(image, augmentation.color, rng)
    if augmentation.weather and rng.random() < augmentation.weather:
        (night, fog, rain, exposure)[rng.integers(4)](image, rng)
    if augmentation.blur and rng.random() < augmentation.blur:
        image[:] = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))


def jitter_color(image: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    """Change brightness, contrast and saturation by up to 40 % and hue by up to 18 degrees, in one matrix.

    Args:
        image: uint8 [h, w, 3], changed in place.
        strength: 0 to 1, a factor on these ranges.
        rng: four numbers are drawn.
    """
    gain, contrast, saturation = 1 + strength * rng.uniform(-0.4, 0.4, 3)
    matrix = contrast * gain * saturation_matrix(saturation) @ hue_matrix(18 * strength * rng.uniform(-1, 1))
    middle = (1 - contrast) * gain * float(_GRAY @ cv2.mean(image)[:3])  # contrast is relative to the image's mean
    image[:] = cv2.transform(image, np.hstack([matrix, np.full((3, 1), middle)]))


def saturation_matrix(factor: float) -> np.ndarray:
    """Return the matrix, float64 [3, 3], that moves colours towards gray of equal luma (factor < 1) or away."""
    return factor * np.eye(3) + (1 - factor) * np.tile(_GRAY, (3, 1))


def hue_matrix(degrees: float) -> np.ndarray:
    """Return a matrix, float64 [3, 3], that rotates colours around the gray axis; 120 degrees turn red into green."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    k = np.sqrt(1 / 3)
    cross = k * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cos * np.eye(3) + sin * cross + (1 - cos) / 3  # Rodrigues' formula for the axis (1, 1, 1)


def night(image: np.ndarray, rng: np.random.Generator) -> None:
    """Darken to less than half of the light, bluish, with the noise of a high gain; only bright spots stay bright."""
    level, bend = rng.uniform(0.3, 0.55), rng.uniform(1.1, 1.5)
    tones = np.linspace(0, 1, 256)
    curve = level * tones**bend + (1 - level) * 0.4 * tones**16
    table = 255 * curve[:, None] * (0.92, 0.97, 1.08)
    image[:] = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[:, None])
    noise = int(rng.integers(4, 12))  # maximum, in gray levels
    grain = rng.integers(0, 2 * noise + 1, image.shape[:2], np.uint8)
    image[:] = cv2.subtract(cv2.add(image, cv2.merge([grain] * 3)), np.full(4, noise, np.float64))


def fog(image: np.ndarray, rng: np.random.Generator) -> None:
    """Lay light gray over what is far: all above the horizon at about half the height, less towards the bottom."""
    thick, near = rng.uniform(0.35, 0.75), rng.uniform(0.05, 0.25)
    rows = np.linspace(0, 1, image.shape[0])
    far = np.clip((1 - rows) / 0.5, 0, 1) ** 1.5
    _veil(image, near + (thick - near) * far, rng.uniform(170, 220))


def rain(image: np.ndarray, rng: np.random.Generator) -> None:
    """Flatten and gray the light, and draw bright slanting streaks."""
    height, width = image.shape[:2]
    image[:] = cv2.transform(image, saturation_matrix(rng.uniform(0.5, 0.8)) * rng.uniform(0.7, 0.9))
    _veil(image, np.full(height, rng.uniform(0.1, 0.25)), 150.0)
    count, slant = int(height * width * rng.uniform(0.0003, 0.001)), rng.uniform(-0.4, 0.4)
    length = height * rng.uniform(0.02, 0.06, count)
    start = rng.uniform((0, -0.05 * height), (width, height), (count, 2))
    end = start + np.stack([slant * length, length], axis=1)
    streaks = np.zeros((height, width), np.uint8)
    lines = np.round(np.stack([start, end], axis=1)).astype(np.int32)
    cv2.polylines(streaks, list(lines), False, int(rng.integers(25, 60)), 1, cv2.LINE_AA)
    image[:] = cv2.add(image, cv2.merge([cv2.blur(streaks, (2, 3))] * 3))


def exposure(image: np.ndarray, rng: np.random.Generator) -> None:
    """Change gamma, from the dimness of dusk (1.8) to the glare of a low sun (0.55)."""
    gamma = np.exp(rng.uniform(np.log(0.55), np.log(1.8)))
    image[:] = cv2.LUT(image, np.round(255 * np.linspace(0, 1, 256) ** gamma).astype(np.uint8))


def _veil(image: np.ndarray, opacity: np.ndarray, gray: float) -> None:
    """Mix each row with `gray`; `opacity` is float [h], where 0 leaves the row unchanged."""
    weight = np.repeat(opacity.astype(np.float32)[:, None], image.shape[1], axis=1)
    clear = cv2.multiply(image, cv2.merge([1 - weight] * 3), dtype=cv2.CV_8U)
    veil = np.round(weight * gray).astype(np.uint8)
    image[:] = cv2.add(clear, cv2.merge([veil] * 3))
