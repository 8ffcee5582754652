"""Stores predictions on disk, written and read image by image, so that memory does not grow with their number."""

import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import Entry
from mrcnn.files import JsonListFile
from mrcnn.user_files import parse_json

log = logging.getLogger(__name__)


class Store:
    """A file of JSON lines: first the origin, then one line per image, {"image_id": ..., "entries": [COCO results]}.

    Memory holds only the position of each image's line. A last line cut off by a crash is dropped on opening.

    Attributes:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str], origin: dict[str, Any]) -> None:
        """Open the file, or create it.

        Args:
            path: The file.
            origin: Weights, settings and data that the detections come from. A file of another origin is started anew.
        """
        self.path = pathlib.Path(path)
        self._places: dict[int | str, int] = {}
        self._count = 0
        head = json.dumps({"origin": origin}, sort_keys=True) + "\n"
        if self.path.exists() and not self._read(head.encode()):
            log.info("%s is damaged, or of other weights, settings or data; starting it anew", self.path)
            self.path.unlink()
        if not self.path.exists():
            self.path.write_text(head, encoding="utf-8")

    def _read(self, head: bytes) -> bool:
        """Find the position of each line; return False if the file is of another origin, or damaged."""
        with self.path.open("rb+") as file:
            if file.readline() != head:
                return False
            while True:
                place = file.tell()
                line = file.readline()
                if not line.endswith(b"\n"):
                    file.truncate(place)
                    return True
                try:
                    record = parse_json(line, str(self.path))
                    self._places[record["image_id"]] = place
                    self._count += len(record["entries"])
                except (InputError, KeyError, TypeError):
                    self._places, self._count = {}, 0
                    return False

    def add(self, key: int | str, entries: list[Entry]) -> None:
        """Append the entries of an image."""
        with self.path.open("ab") as file:
            place = file.tell()
            file.write((json.dumps({"image_id": key, "entries": entries}, allow_nan=False) + "\n").encode())
        self._places[key] = place
        self._count += len(entries)

    def of_image(self, key: int | str) -> list[Entry]:
        """Return the entries of an image that is in the file.

        Raises:
            InputError: The file was changed since it was opened.
        """
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return parse_json(file.readline(), str(self.path))["entries"]

    def __contains__(self, key: int | str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        """Return the number of entries."""
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries, image by image."""
        for key in self._places:
            yield from self.of_image(key)

    def remove(self) -> None:
        """Delete the file, once its content is no longer needed."""
        self.path.unlink(missing_ok=True)


def entries_by_image(predictions: list[Entry] | Store) -> Callable[[int | str], list[Entry]]:
    """Return a function that maps the `image_id` of an image to its entries."""
    if isinstance(predictions, Store):
        return predictions.of_image
    groups: dict[int | str, list[Entry]] = {}
    for entry in predictions:
        groups.setdefault(entry["image_id"], []).append(entry)
    return lambda key: groups.get(key, [])


def write_entries(path: str | os.PathLike[str], entries: Iterable[Entry]) -> None:
    """Write entries as a JSON list, one at a time, so that they never have to be in memory together.

    Raises:
        InputError: The file cannot be written.
    """
    with JsonListFile(path) as file:
        for entry in entries:
            file.write(entry)
