"""Weather and light of the drawn street scenes, with the effects of weather and camera on the finished image."""

import functools
import random

import cv2
import numpy as np

from bdd100k.streets.canvas import HEIGHT, WIDTH, Canvas, Colour, Look, mix

SKIES: dict[str, tuple[Colour, Colour]] = {  # colours at the top and at the horizon
    "clear": ((86, 140, 206), (190, 214, 232)),
    "partly cloudy": ((104, 150, 204), (198, 212, 224)),
    "overcast": ((158, 164, 170), (202, 204, 206)),
    "rainy": ((122, 128, 136), (168, 172, 176)),
    "snowy": ((182, 186, 192), (214, 216, 220)),
    "foggy": ((186, 190, 194), (206, 208, 210)),
}


def choose_look(rng: random.Random) -> Look:
    """Draw weather, scene and time of day in BDD100K's proportions, and the light that follows from them."""
    weather = rng.choices(("clear", "overcast", "partly cloudy", "rainy", "snowy", "foggy"), (48, 16, 14, 9, 9, 4))[0]
    scene = rng.choices(("city street", "residential", "highway", "parking lot"), (66, 17, 14, 3))[0]
    time = rng.choices(("daytime", "night", "dawn/dusk"), (62, 25, 13))[0]
    horizon = SKIES[weather][1]
    haze: Colour
    if time == "night":
        light, tint, haze, lamps = rng.uniform(0.24, 0.4), (0.92, 0.96, 1.1), (26, 28, 36), rng.uniform(0.3, 0.55)
    elif time == "dawn/dusk":
        light, tint, lamps = rng.uniform(0.5, 0.75), (1.1, 0.97, 0.88), 0.1
        haze = mix(mix(horizon, (232, 168, 122), 0.5), (60, 56, 70), 0.25)
    else:
        light, tint, haze, lamps = rng.uniform(0.82, 1.05), (1.0, 1.0, 1.0), horizon, 0.0
        if weather == "clear":
            tint = (1.05, 1.02, 0.95)
    per_m = {"foggy": rng.uniform(0.014, 0.03), "rainy": 0.007, "snowy": 0.008}.get(weather, 0.0028)
    return Look(weather, scene, time, light, tint, haze, per_m, lamps)


def weather_and_camera(canvas: Canvas, rng: random.Random) -> None:
    """Add falling snow or rain and drops on the windscreen, then blur, exposure and sensor noise, in place."""
    look, numbers = canvas.look, np.random.default_rng(rng.getrandbits(32))
    if look.weather in ("rainy", "snowy"):
        count = rng.randint(120, 420)
        spots = numbers.random((count, 3))
        drift = rng.uniform(-6, 6)
        for x, y, near in spots:
            at = (int(x * WIDTH), int(y * HEIGHT))
            if look.snow:
                cv2.circle(
                    canvas.image,
                    at,
                    1 + int(near > 0.75) + int(near > 0.96),
                    canvas.tone((244, 246, 250), 6.0),
                    -1,
                    cv2.LINE_AA,
                )
            elif near < 0.5:
                end = (int(at[0] + drift), int(at[1] + 10 + 14 * near))
                cv2.line(canvas.image, at, end, canvas.tone((176, 182, 188), 6.0), 1, cv2.LINE_AA)
    if look.weather == "rainy" and rng.random() < 0.4:
        for x, y, size in numbers.random((14, 3)):
            x1, y1, reach = int(x * (WIDTH - 40)), int(y * (HEIGHT - 40)), int(8 + size * 18)
            drop = canvas.image[y1 : y1 + reach, x1 : x1 + reach]
            drop[:] = cv2.blur(drop, (9, 9))
    if rng.random() < 0.45:
        canvas.image = cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.5, 1.15))
    gain = rng.uniform(0.88, 1.12)
    if abs(gain - 1) > 0.02:
        canvas.image = cv2.convertScaleAbs(
            canvas.image, alpha=gain, beta=rng.uniform(-4, 8) if gain > 1 else rng.uniform(0, 8)
        )
    _noise(canvas.image, numbers, rng.uniform(1.0, 3.5) + (3.5 if look.night else 0.0))


def _noise(image: np.ndarray, numbers: np.random.Generator, sigma: float) -> None:
    """Add sensor noise and surface texture in place, from one tile cropped elsewhere for each band of rows."""
    grain, coarse = _grain()
    tile = np.rint(grain * sigma + coarse * numbers.uniform(0.2, 1.1))  # [184, 4032]: three channels of 1344 pixels
    up, down = np.maximum(tile, 0).astype(np.uint8), np.maximum(-tile, 0).astype(np.uint8)
    flat = image.reshape(HEIGHT, WIDTH * 3)
    for row in range(0, HEIGHT, 120):
        y, x = (int(v) for v in numbers.integers(0, 64, 2))
        band = flat[row : row + 120]
        cv2.add(band, up[y : y + 120, 3 * x : 3 * x + WIDTH * 3], dst=band)
        cv2.subtract(band, down[y : y + 120, 3 * x : 3 * x + WIDTH * 3], dst=band)


@functools.cache
def _grain() -> tuple[np.ndarray, np.ndarray]:
    """Return fine noise (one per channel) and coarse noise (the same in all), float32 [184, 4032], unit variance."""
    numbers = np.random.default_rng(1)
    fine = numbers.standard_normal((184, (WIDTH + 64) * 3), np.float32)
    coarse = cv2.GaussianBlur(numbers.standard_normal((184, WIDTH + 64), np.float32), (0, 0), 2.5)
    return fine, np.repeat(coarse / coarse.std(), 3, axis=1)
