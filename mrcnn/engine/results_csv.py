"""results.csv of a run folder: one row an epoch, written whole. Imports no Keras."""

import csv
import math
import os
import pathlib

from mrcnn.errors import InputError
from mrcnn.files import written_whole

RESULTS_FILE = "results.csv"
MASK_AP = "val_mask_AP"  # decides which checkpoint is the best
Row = dict[str, float | int | str]


class Results:
    """The rows of a run, oldest first. A row is {"epoch": 1, "stage": "heads", "loss": 0.5, ...}; NaN where a figure is
    undefined, which is an empty cell in the file. Columns are those of all rows, in the order of their first use."""

    def __init__(self, folder: str | os.PathLike, epochs: int) -> None:
        """Read what a run has so far.

        Args:
            folder: of the run.
            epochs: epochs that are done. Rows of later ones, which a run that goes on does again, are dropped.

        Raises:
            InputError: the file there is none of ours.
        """
        self.path = pathlib.Path(folder) / RESULTS_FILE
        rows = read_results(self.path) if self.path.exists() else []
        self.rows = [row for row in rows if int(row["epoch"]) <= epochs]
        if len(self.rows) < len(rows):
            self._write()

    def put(self, row: Row) -> None:
        """Add a row, in place of one of the same epoch, and write the file. Raises InputError if the disk refuses."""
        others = [known for known in self.rows if known["epoch"] != row["epoch"]]
        self.rows = sorted([*others, row], key=lambda known: int(known["epoch"]))
        self._write()

    def best(self, after: int = 0) -> Row | None:
        """The row of the best mask AP of the epochs after one, the first of equals; None if none was validated."""
        rows = [row for row in self.rows if int(row["epoch"]) > after]
        validated = [row for row in rows if not math.isnan(float(row.get(MASK_AP, math.nan)))]
        return max(validated, key=lambda row: float(row[MASK_AP])) if validated else None

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with written_whole(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _text(value) for name, value in row.items()} for row in self.rows)


def read_results(path: str | os.PathLike) -> list[Row]:
    """The rows of a results.csv; cells that are empty are NaN, but for the stage all are numbers.

    Raises:
        InputError: the file cannot be read as such.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as the results of a run ({error}); move it away") from error


def _value(name: str, text: str) -> float | int | str:
    if name == "stage":
        return text
    if name in ("epoch", "steps"):
        return int(text)
    return float(text) if text else math.nan


def _text(value: float | int | str) -> str:
    """Numbers in full: they read back as they were."""
    return "" if isinstance(value, float) and math.isnan(value) else str(value)
