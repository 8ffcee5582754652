"""Read and write results.csv of a run folder: one row per epoch, written whole. Imports no Keras."""

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
    """The rows of a run, oldest first, and their file.

    A row is {"epoch": 1, "stage": "heads", "loss": 0.5, ...}. An undefined figure is NaN, an empty cell in the file.
    Columns are those of all rows, in the order of their first use.
    """

    def __init__(self, folder: str | os.PathLike, epochs: int) -> None:
        """Read the rows of a run so far.

        Args:
            folder: of the run.
            epochs: epochs that are done. Rows of later epochs, which a resumed run trains again, are dropped.

        Raises:
            InputError: results.csv there is not that of a run.
        """
        self.path = pathlib.Path(folder) / RESULTS_FILE
        rows = read_results(self.path) if self.path.exists() else []
        self.rows = [row for row in rows if int(row["epoch"]) <= epochs]
        if len(self.rows) < len(rows):
            self._write()

    def put(self, row: Row) -> None:
        """Add a row, or replace that of the same epoch, and write the file.

        Raises:
            InputError: the file cannot be written.
        """
        others = [known for known in self.rows if known["epoch"] != row["epoch"]]
        self.rows = sorted([*others, row], key=lambda known: int(known["epoch"]))
        self._write()

    def best(self, after: int = 0) -> Row | None:
        """Return the row with the best mask AP of all epochs after `after`, the first of equals; None without any."""
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
    """Return the rows of a results.csv. All values but the stage are numbers; empty cells are NaN.

    Raises:
        InputError: the file is missing or broken.
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
    """Return a value as text that reads back exactly."""
    return "" if isinstance(value, float) and math.isnan(value) else str(value)
