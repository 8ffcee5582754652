#!/usr/bin/env python3
"""Run a script written for matterport/Mask_RCNN without changing it.

  python scripts/run_legacy.py samples/balloon/balloon.py train --dataset=DIR --weights=coco

The script gets its arguments, this project's `mrcnn` (also as `import model as modellib` and for copies of Matterport's
files), and what Python, numpy, TensorFlow, Keras and the image libraries have dropped since 2017; docs/matterport.md
has the list. In a notebook, the first cell does the same:

  from mrcnn.legacy.restore import restore; restore()
"""

import pathlib
import runpy
import signal
import sys
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from mrcnn.errors import InputError


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return
    script = pathlib.Path(sys.argv[1])
    if not script.is_file():
        raise InputError(f"{script}: no such script; give the path of a Python file, followed by its arguments")
    from mrcnn.legacy import console
    from mrcnn.legacy.restore import restore

    console.show_log()
    restore()
    import mrcnn.model  # noqa: F401  (before the script's own copy can be found)

    sys.argv = sys.argv[1:]
    scripts = pathlib.Path(__file__).resolve().parent
    own = {str(scripts), str(scripts.parent)}  # here too are a train.py and a detect.py: not those of the script
    sys.path[:] = [str(script.resolve().parent), *(folder for folder in sys.path if folder not in own)]
    sys.path.append(str(scripts.parent))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the script may catch Ctrl-C and go on: it comes once
    try:
        runpy.run_path(str(script), run_name="__main__")
    except InputError as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
        raise InputError(f"{script}, line {lines[-1] if lines else '?'}: {error}") from error


if __name__ == "__main__":
    sys.exit(errors.exit_code(main, log=False))
