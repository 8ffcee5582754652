"""Hold out a labelled test split: images of train, listed in a text file, so that everybody evaluates the same ones.

BDD100K's own test labels are private. The list is DATA/splits/test.txt unless another file is named::

    # Test images held out of the split train: 200 of 7000, seed 0.
    # sha256 of the names, one a line, sorted: 3f0c...
    0004974f-05e1c285.jpg
    ...
"""

import argparse
import hashlib
import logging
import os
import pathlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mrcnn.annotations.reading import read_lines
from mrcnn.errors import InputError
from mrcnn.setting_rules import number_type, whole
from mrcnn.text import without_surrogates

log = logging.getLogger(__name__)

COUNT = 200  # images, as in the course report with which the figures are compared
_HASH = re.compile(r"^# sha256 of the names, one a line, sorted: ([0-9a-f]{64})$")


@dataclass(frozen=True)
class HeldOut:
    """The held-out images of a list.

    Attributes:
        path: the file.
        names: file names of images, sorted.
        sha256: of the names, each with a newline after it.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    sha256: str

    @property
    def stems(self) -> frozenset[str]:
        """The names without their endings, by which images and labels are matched."""
        return frozenset(map(stem, self.names))


def stem(name: str) -> str:
    """Return a name without its ending: "a/b.jpg" gives "a/b"."""
    return str(pathlib.PurePosixPath(name).with_suffix(""))


def list_path(data_dir: str | pathlib.Path, split_file: str | pathlib.Path | None = None) -> pathlib.Path:
    """Return the path of the list: the file that the user names, or splits/test.txt in the data folder."""
    return pathlib.Path(split_file) if split_file is not None else pathlib.Path(data_dir) / "splits" / "test.txt"


def choose_names(names: Iterable[str], count: int = COUNT, seed: int = 0) -> list[str]:
    """Draw images by a hash of seed and name: the same for everybody, whatever the order of the files.

    Args:
        names: file names to draw from.
        count: how many to draw.
        seed: a different seed draws different images.

    Returns:
        `count` names, sorted.

    Raises:
        InputError: there are not more than `count` names, so nothing would be left.
    """
    known = sorted(set(names))
    if not 0 < count < len(known):
        raise InputError(f"{count} of {len(known)} images cannot be held out; some must be left to train on")
    ranked = sorted(known, key=lambda name: hashlib.sha256(os.fsencode(f"{seed}:{name}")).digest())
    return sorted(ranked[:count])


def write_list(path: str | pathlib.Path, names: Iterable[str], count: int = COUNT, seed: int = 0) -> HeldOut:
    """Draw images and write their list.

    Args:
        path: the file to write; it must not exist.
        names: all labelled images of train.
        count, seed: see `choose_names`.

    Raises:
        InputError: the list exists already, a name does not fit on a line, or the file cannot be written.
    """
    path, known = pathlib.Path(path), sorted(set(names))
    unfit = [name for name in known if not _fits_a_line(name)]
    if unfit:
        raise InputError(
            f"{path}: {unfit[0]!r:.80} cannot be listed in a text file, one name a line; rename this image"
        )
    chosen = choose_names(known, count, seed)
    digest = _digest(chosen)
    head = [
        f"# Test images held out of the split train: {count} of {len(known)}, seed {seed}.",
        f"# sha256 of the names, one a line, sorted: {digest}",
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join([*head, *chosen]) + "\n")
    except FileExistsError as error:
        raise InputError(f"{path}: this file already lists a test split; delete it to draw another") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another file with --split-file"
        ) from error
    log.info("held out %d of %d images as a test split: %s (sha256 %s)", count, len(known), path, digest[:12])
    return HeldOut(path, tuple(chosen), digest)


def read_list(path: str | pathlib.Path) -> HeldOut:
    """Read a list and check it against its hash.

    Raises:
        InputError: it cannot be read, has no hash, or its names do not match the hash.
    """
    path = pathlib.Path(path)
    lines = [line.strip() for line in read_lines(path)]
    names = sorted(line for line in lines if line and not line.startswith("#"))
    hashes = [match[1] for line in lines if (match := _HASH.match(line))]
    if len(hashes) != 1 or not names:
        raise InputError(
            f"{path}: is not the list of a test split (a header with one sha256, then one image name per line)"
        )
    if _digest(names) != hashes[0]:
        raise InputError(
            f"{path}: its {len(names)} names do not match its sha256; copy the file again, or delete it and draw "
            "another list with --hold-out"
        )
    return HeldOut(path, tuple(names), hashes[0])


def find_list(data_dir: str | pathlib.Path, split_file: str | pathlib.Path | None = None) -> HeldOut | None:
    """Return the list of a data folder, or None if there is none.

    Raises:
        InputError: the file that the user names is missing, or the list is damaged.
    """
    path = list_path(data_dir, split_file)
    if split_file is None and not path.exists():
        return None
    return read_list(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --hold-out and --split-file, which train and evaluate share."""
    parser.add_argument(
        "--hold-out",
        type=number_type(whole(1, 10**9)),
        nargs="?",
        const=COUNT,
        metavar="N",
        help=f"hold N labelled images (default: {COUNT}) out of train as the split test and list them in "
        "DATA/splits/test.txt; from then on train leaves out the images of that list, and evaluate uses them with "
        "--split test",
    )
    parser.add_argument(
        "--split-file", metavar="FILE", help="the list of held-out images, if it is not DATA/splits/test.txt"
    )


def _fits_a_line(name: str) -> bool:
    """Whether a name reads back from a text file with one name a line, and comments after #."""
    is_utf8 = name == without_surrogates(name)
    return name.strip().splitlines() == [name] and not name.startswith("#") and is_utf8


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("".join(f"{name}\n" for name in sorted(names)))).hexdigest()
