"""Predictions on disk: written in parts, read in parts."""

import json
import logging
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from mrcnn.files import JsonListFile

log = logging.getLogger(__name__)

Entry = dict[str, Any]


class Store:
    """JSON lines: what was evaluated, then one line per image, {"image_id": ..., "entries": [COCO results]}.

    In memory there is only where each image's line begins. A line that a stop cut off is dropped on opening.

    Attributes:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str], origin: dict[str, Any]) -> None:
        """Opens a file, or makes it.

        Args:
            path: The file.
            origin: What the detections come from (weights, settings, data). A file of another origin starts anew.
        """
        self.path = pathlib.Path(path)
        self._places: dict[int | str, int] = {}
        self._count = 0
        head = json.dumps({"origin": origin}, sort_keys=True) + "\n"
        if self.path.exists() and not self._read(head.encode()):
            log.info("%s holds detections of other weights, settings or data; it is started anew", self.path)
            self.path.unlink()
        if not self.path.exists():
            self.path.write_text(head, encoding="utf-8")

    def _read(self, head: bytes) -> bool:
        """Finds the lines; False where the file is of another origin."""
        with self.path.open("rb+") as file:
            if file.readline() != head:
                return False
            while True:
                place = file.tell()
                line = file.readline()
                if not line.endswith(b"\n"):
                    file.truncate(place)
                    return True
                record = json.loads(line)
                self._places[record["image_id"]] = place
                self._count += len(record["entries"])

    def add(self, key: int | str, entries: list[Entry]) -> None:
        """Appends the entries of an image; what a crash leaves of the line is dropped when the file is opened again."""
        with self.path.open("ab") as file:
            place = file.tell()
            file.write((json.dumps({"image_id": key, "entries": entries}, allow_nan=False) + "\n").encode())
        self._places[key] = place
        self._count += len(entries)

    def of_image(self, key: int | str) -> list[Entry]:
        """The entries of an image, which must be there."""
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return json.loads(file.readline())["entries"]

    def __contains__(self, key: int | str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        """The number of entries."""
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        """All entries, image by image."""
        for key in self._places:
            yield from self.of_image(key)

    def remove(self) -> None:
        """Deletes the file, once what was to come of it is written."""
        self.path.unlink(missing_ok=True)


def write_entries(path: str | os.PathLike[str], entries: Iterable[Entry]) -> None:
    """Write entries as a JSON list, one after the other: they need not be in memory together."""
    with JsonListFile(path) as file:
        for entry in entries:
            file.write(entry)
