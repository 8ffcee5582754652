"""Serves many images of changing sizes from several threads, and reports memory and whether results stay equal.

  python -m tests.long_service --calls 10000

Three models of the smallest network take turns, in the resize modes square, pad64 and none; the last two see 20 sizes,
more than a detector keeps. Every result is compared, bit for bit, with that of one thread before. The exit code is 1 if
one differs.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
import threading
import time

import keras
import numpy as np

from mrcnn.model import MaskRCNN
from tests.shapes import ShapesConfig, ShapesDataset

MODES = ("square", "pad64", "none")
SIDES = [(64 * h, 64 * w) for h in range(1, 6) for w in range(1, 5)]  # multiples of 64 px, as the mode none wants them
ROUND = 5000  # calls in which every size comes and goes
Result = dict[str, np.ndarray]


def main() -> int:
    """Serve, and print memory at a tenth, at half and at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, metavar="N", help="(default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(pathlib.Path(folder))
        began = time.monotonic()
        for end in (args.calls // 10, args.calls // 2, args.calls):
            service.serve(end, args.threads)
            seconds = time.monotonic() - began
            print(
                f"{keras.config.backend()}: {end} calls from {args.threads} threads in {seconds:.0f} s, "
                f"{memory_mib():.0f} MiB, {service.different} results differ, {len(service.errors)} errors",
                flush=True,
            )
    for error in dict.fromkeys(service.errors):
        print(error, flush=True)
    return int(bool(service.different or service.errors))


class Service:
    """Three models that detect, and what each should find.

    Attributes:
        different: number of results that differ from those of one thread.
        errors: what was raised.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.models = {mode: always_detects(mode, folder) for mode in MODES}
        dataset = ShapesDataset().load_shapes(len(SIDES))
        self.images = [np.resize(dataset.load_image(n), (*side, 3)) for n, side in enumerate(SIDES)]
        self.expected = {
            (mode, n): self.models[mode].detect([image])[0] for mode in MODES for n, image in enumerate(self.images)
        }
        self.different, self.errors = 0, list[str]()
        self._numbers, self._lock = itertools.count(), threading.Lock()

    def serve(self, end: int, threads: int) -> None:
        """Detect until `end` calls are done in all."""
        workers = [threading.Thread(target=self._work, args=(end,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self._numbers = itertools.count(end)  # each worker took one number too many

    def _work(self, end: int) -> None:
        while (number := next(self._numbers)) < end:
            mode = MODES[number % len(MODES)]
            size = (number * len(SIDES) // ROUND + number // len(MODES) % 4) % len(SIDES)  # one of four, moving on
            try:
                found = self.models[mode].detect([self.images[size]])[0]
            except Exception as error:
                self.errors.append(repr(error)[:500])
                continue
            if not equal(found, self.expected[mode, size]):
                with self._lock:
                    self.different += 1


def always_detects(mode: str, folder: pathlib.Path) -> MaskRCNN:
    """Return a model with random weights whose proposals are anchors and never background, so it detects something."""
    keras.utils.set_random_seed(3)
    side = [] if mode == "square" else ["IMAGE_MIN_DIM=64", "IMAGE_MAX_DIM=320"]
    model = MaskRCNN("inference", ShapesConfig().override([f"IMAGE_RESIZE_MODE={mode}", *side]), folder)
    rpn, network = model.keras_model.get_layer("rpn_model"), model.keras_model
    # small kernels keep scores distinct; saturated ones would tie
    for layer, factor in (
        (rpn.get_layer("rpn_bbox_pred"), 0.0),
        (rpn.get_layer("rpn_class_raw"), 0.01),
        (network.get_layer("mrcnn_bbox_fc"), 0.0),
        (network.get_layer("mrcnn_class_logits"), 0.01),
    ):
        layer.kernel.assign(layer.kernel.value * factor)
    network.get_layer("mrcnn_class_logits").bias.assign(np.float32([-50, 0, 0, 0]))
    return model


def equal(a: Result, b: Result) -> bool:
    """Return whether two results are equal, bit for bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def memory_mib() -> float:
    """Return the resident memory of this process."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
