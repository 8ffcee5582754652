"""Replace the traceback of a full memory during training by one message with numbers and settings to lower."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mrcnn.backbones import RESNETS, ending, resnet_name
from mrcnn.config import Config
from mrcnn.errors import InputError

# How the three backends report it. Their classes differ, and XLA has none; no backend is imported to compare them.
_CLASSES = ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
_WORDS = re.compile(r"RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|out of memory|OOM when allocating", re.IGNORECASE)


@contextlib.contextmanager
def explaining_memory(config: Config, image_shape: Sequence[int]) -> Iterator[None]:
    """Turn an out-of-memory error inside the context into an InputError.

    Args:
        config: of the run.
        image_shape: (height, width, ...) of its batches.

    Raises:
        InputError: in place of an error that reports a full memory.
    """
    try:
        yield
    except Exception as error:  # each backend has a class of its own
        if not is_out_of_memory(error):
            raise
        raise InputError(memory_message(error, config, image_shape)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any backend, or of Python, means that memory is full."""
    if isinstance(error, InputError):
        return False
    known = any(kind.__name__ in _CLASSES for kind in type(error).__mro__)
    return known or (isinstance(error, RuntimeError) and bool(_WORDS.search(str(error))))


def memory_message(error: BaseException, config: Config, image_shape: Sequence[int]) -> str:
    """Return what was too large and what to lower, cheapest first.

    Args:
        error: of the backend.
        config: of the run.
        image_shape: (H, W, ...) of its batches, in pixels.
    """
    height, width = (int(side) for side in image_shape[:2])
    said = next((line.strip() for line in str(error).splitlines() if _WORDS.search(line)), type(error).__name__)
    advice = []
    if config.IMAGES_PER_GPU > 1:
        fewer = config.IMAGES_PER_GPU // 2
        steps = config.GRADIENT_ACCUMULATION_STEPS * -(-config.IMAGES_PER_GPU // fewer)
        advice.append(f"IMAGES_PER_GPU={fewer} with GRADIENT_ACCUMULATION_STEPS={steps} (as many images an update)")
    if config.TRAIN_ROIS_PER_IMAGE > 64:
        advice.append(f"TRAIN_ROIS_PER_IMAGE={config.TRAIN_ROIS_PER_IMAGE // 2}")
    smaller = [max(64, side * 3 // 4 // 64 * 64) for side in (height, width)]
    share = smaller[0] * smaller[1] / (height * width)
    if share < 1:
        advice.append(f"images of {smaller[0]} x {smaller[1]} px ({share:.0%} of the pixels; {_size_settings(config)})")
    if lighter := _lighter(config.BACKBONE):
        advice.append(f"BACKBONE={lighter}")
    advice.append("a stage that trains fewer layers (heads, 4+)")
    return (
        f"out of memory while training on batches of {config.BATCH_SIZE} images of {height} x {width} px with "
        f"{config.TRAIN_ROIS_PER_IMAGE} ROIs and {config.POST_NMS_ROIS_TRAINING} proposals each ({said[:200]}). Lower, "
        f"one after the other: {'; '.join(advice)}. Other programs on the device take memory too. What "
        "finished epochs wrote is kept"
    )


def _lighter(backbone: Any) -> str | None:
    """Return the ResNet, other than ResNeXt and wide ones, that needs the next smaller memory for its maps."""
    own = resnet_name(backbone)
    if own is None:
        return None
    lighter = [name for name in RESNETS if name.startswith("resnet") and _values(name) < _values(own)]
    return max(lighter, key=_values) + ending(backbone) if lighter else None


def _values(backbone: str) -> float:
    """Return how many values per cell of C2 the convolutions of a ResNet write, in units of the stem's channels."""
    sizes = RESNETS[backbone]
    inner = sizes.groups * sizes.width_per_group / 64
    of_block = 2 * inner + 4 if sizes.bottleneck else 2
    return sum(blocks * of_block / 2**stage for stage, blocks in enumerate(sizes.blocks))


def _size_settings(config: Config) -> str:
    names = {"square": "IMAGE_MAX_DIM, IMAGE_MIN_DIM", "rect": "IMAGE_MIN_DIM, IMAGE_MAX_DIM", "crop": "IMAGE_MIN_DIM"}
    return names.get(
        config.IMAGE_RESIZE_MODE,
        "IMAGE_RESIZE_MODE is "
        + config.IMAGE_RESIZE_MODE
        + ": the size of the largest image; square with IMAGE_MAX_DIM limits it",
    )
