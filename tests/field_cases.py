"""Small label files from the field, in tests/field: copied to a temporary folder, and their images drawn."""

import pathlib
import shutil

from tests.annotated import picture

FIELD = pathlib.Path(__file__).parent / "field"


def field_case(root: pathlib.Path, name: str, *images: str, size: tuple[int, int] = (40, 60)) -> pathlib.Path:
    """Copy tests/field/NAME to root/NAME and draw its images there, each (height, width) px."""
    folder = root / name
    shutil.copytree(FIELD / name, folder)
    for image in images:
        picture(folder / image, *size)
    return folder
