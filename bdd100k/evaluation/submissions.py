"""Writes submissions for BDD100K's evaluation: a folder of RGBA PNGs with a score file, and a JSON file of RLEs."""

import contextlib
import pathlib
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.evaluation.flatten import Flattened
from mrcnn.files import folder_written_whole, json_text
from mrcnn.visualization.drawing import encoded

BITMASKS, SCORES, RLE = "bitmasks", "bitmask_scores.json", "rle.json"


class Writer:
    """Writes both submissions image by image; they replace earlier ones once the block ends without an error.

    with Writer(out / "submission") as writer:
        evaluate(source, dataset, benchmark=OfficialEvaluator(dataset, writer.add))

    The folder then contains `bitmasks/NAME.png`, `bitmask_scores.json` and `rle.json`.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Set the folder; nothing is written before the block begins.

        Args:
            folder: Folder to write or replace; its parent must exist.
        """
        self.folder = folder
        self._part = folder
        self._open = contextlib.ExitStack()
        self._files: list[TextIO] = []
        self._first = True

    def __enter__(self) -> "Writer":
        self._part = self._open.enter_context(folder_written_whole(self.folder))
        (self._part / BITMASKS).mkdir()
        self._files = [
            self._open.enter_context((self._part / name).open("w", encoding="ascii")) for name in (SCORES, RLE)
        ]
        self._open.push(self._finish)
        return self

    def add(self, name: str, flat: Flattened, shape: tuple[int, int]) -> None:
        """Write one image.

        Args:
            name: File name of the image.
            flat: Predictions without overlaps; detection n gets the index n + 1.
            shape: (height, width) px.

        Raises:
            InputError: The image is too large for a PNG.
        """
        stem = pathlib.PurePath(name).stem
        png = encoded(_rgba(flat), ".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
        (self._part / BITMASKS / f"{stem}.png").write_bytes(png)
        visible = [
            (n, e, rle) for n, (e, rle) in enumerate(zip(flat.entries, flat.visible, strict=True), 1) if rle is not None
        ]
        scores = [{"id": str(n), "index": n, "score": e["score"]} for n, e, _ in visible]
        masks = [
            {
                "id": str(n),
                "category": CLASS_NAMES[e["category_id"] - 1],
                "score": e["score"],
                "rle": {"counts": rle["counts"], "size": list(shape)},
            }
            for n, e, rle in visible
        ]
        for file, frame_name, labels in zip(self._files, (f"{stem}.png", name), (scores, masks), strict=True):
            self._write(file, {"name": frame_name, "labels": labels})
        self._first = False

    def _write(self, file: TextIO, frame: dict[str, Any]) -> None:
        file.write(("[" if self._first else ",\n") + json_text(frame))

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.write("[]" if self._first else "]\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _rgba(flat: Flattened) -> np.ndarray:
    """Return the PNG, uint8 [H, W, 4] RGBA: R is the category, G the attributes (0), (B << 8) + A the index."""
    table = np.zeros((256, 4), np.uint8)
    for n, entry in enumerate(flat.entries, 1):
        table[n] = entry["category_id"], 0, n >> 8, n & 255
    return table[np.ascontiguousarray(flat.labels)]
