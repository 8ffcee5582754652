#!/usr/bin/env python3
"""Run a script written for matterport/Mask_RCNN without changing it.

  python scripts/run_legacy.py samples/balloon/balloon.py train --dataset=DIR --weights=coco

The script gets its arguments, this project's `mrcnn`, and the numpy names that newer releases removed (np.int,
np.sctypes), so `import imgaug` works too, before or after mrcnn.
"""

import os
import pathlib
import runpy
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors
from mrcnn.errors import InputError
from mrcnn.legacy.compat import restore_numpy_names


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return
    script = pathlib.Path(sys.argv[1])
    if not script.is_file():
        raise InputError(f"{script}: no such script; give the path of a Python file, followed by its arguments")
    restore_numpy_names()
    sys.argv = sys.argv[1:]
    # The script can import its neighbours, but `mrcnn` is always this one: old samples put their own copy on the path.
    sys.path.insert(1, str(script.resolve().parent))
    import mrcnn.model  # noqa: F401

    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
