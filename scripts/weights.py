#!/usr/bin/env python3
"""List, fetch, check and convert published weight files."""

import argparse
import logging
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from rich.console import Console
from rich.table import Table

from mrcnn.files import refuse_unwritable
from mrcnn.foreign.weight_check import check_file
from mrcnn.modeling import pretrained
from mrcnn.modeling.registry import REGISTRY, Published
from mrcnn.text import printable

MIN_SCORE = 0.05  # of detections, as in COCO's evaluations of published models
_TEACH = """\
The licence and the terms are those of whoever published a file; read them before you use or pass on what you fetch.
Without an internet connection, fetch says which file to download elsewhere and where to put it. An interrupted
download is resumed by the same command.

check compares a file with the published one by its hash, by the first digits of its hash or by its length, whatever was
published, and says which. It reads files of PyTorch, pickles of numpy arrays, safetensors and Matterport's HDF5; no
code in them is run.

exit code: 0 done, 1 a file is not the published one of its name, 2 wrong usage, no connection, or a file that cannot be
read

convert writes a model of torchvision, Detectron2 or MMDetection, or of Matterport, as an .h5 file of this project, with
its settings and its classes. A target that ends with .pth becomes a state dict of torchvision, where the model's
settings allow it (those of the presets torchvision and torchvision-v2).

examples:
  python scripts/weights.py list
  python scripts/weights.py fetch coco-r50 cityscapes-r50-mmdet
  python scripts/weights.py check coco-r50 path/to/checkpoint.pth
  python scripts/weights.py convert coco-r50 weights/coco_r50.h5
  python scripts/weights.py convert logs/streets20261127T1200/mask_rcnn_streets_0005.h5 for_torchvision.pth
"""


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(
        description=__doc__, epilog=_TEACH, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = errors.ArgumentParser(add_help=False)
    shared.add_argument(
        "--folder",
        default=str(pretrained.SHIPPED),
        metavar="DIR",
        help="folder of the weights (default: weights/ of this project)",
    )
    lister = commands.add_parser("list", parents=[shared], help="show all published files")
    lister.set_defaults(run=list_all)
    fetcher = commands.add_parser("fetch", parents=[shared], help="download files, unless they are there")
    fetcher.add_argument("names", nargs="+", metavar="NAME", help="of the list")
    fetcher.set_defaults(run=fetch)
    checker = commands.add_parser("check", parents=[shared], help="tell what files are, and whether they are complete")
    checker.add_argument("files", nargs="+", metavar="FILE", help="a file, or a name of the list")
    checker.set_defaults(run=check)
    converter = commands.add_parser(
        "convert", parents=[shared], help="write a model as a file of this project or of torchvision"
    )
    converter.add_argument("source", metavar="FILE", help="a file, or a name of the list")
    converter.add_argument("target", metavar="TARGET", help="the file to write, .h5 or .pth")
    converter.set_defaults(run=convert)
    return parser.parse_args()


def list_all(args: argparse.Namespace) -> int:
    """Show a table of all published files, and below it the terms of the data."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("MB", justify="right")
    for title in ("here", "AP as published", "licence"):
        table.add_column(title)
    terms = list(dict.fromkeys(entry.terms for entry in REGISTRY.values() if entry.terms))
    for entry in REGISTRY.values():
        path = pathlib.Path(args.folder, entry.file_name)
        size = path.stat().st_size if path.is_file() else entry.size
        note = f" ({terms.index(entry.terms) + 1})" if entry.terms else ""
        table.add_row(
            entry.name,
            "" if size is None else f"{size / 1e6:.0f}",
            "yes" if path.is_file() else "",
            entry.results.replace(" AP", ""),
            (entry.licence or "not stated") + note,
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    for number, text in enumerate(terms, 1):
        console.print(f"({number}) {text}")
    console.print(f"here: in {printable(args.folder)}; all files and addresses: weights/README.md", soft_wrap=True)
    return 0


def licence_of(entry: Published) -> str:
    """Return the licence and the terms of a file."""
    return "; ".join(filter(None, (entry.licence or "licence not stated", entry.terms)))


def fetch(args: argparse.Namespace) -> int:
    """Download files; name their licence before."""
    for name in args.names:
        if name in REGISTRY:
            entry = REGISTRY[name]
            print(f"{name}: {'; '.join(filter(None, (entry.note, entry.results)))}")
            print(f"  licence: {licence_of(entry)}", flush=True)
        path = pretrained.fetch(name, args.folder)
        print(f"  {printable(path)}, checked by: {REGISTRY[name].checks or 'nothing, as no hash was published'}")
    return 0


def here(name: str, folder: str) -> pathlib.Path:
    """Return the path of a file, or of a published one that is in the folder."""
    given = pathlib.Path(name)
    if name in REGISTRY and not given.is_file():
        given = pathlib.Path(folder, REGISTRY[name].file_name)
        if not given.is_file():
            raise errors.InputError(f"{given} is not there; run: python scripts/weights.py fetch {name}")
    return given


def convert(args: argparse.Namespace) -> int:
    """Write a model as a file of this project or of torchvision."""
    suffix = pathlib.Path(args.target).suffix
    if suffix not in (".h5", ".pth"):
        raise errors.InputError(f"{args.target}: give a name that ends with .h5 (this project) or .pth (torchvision)")
    refuse_unwritable(args.target)
    source = here(args.source, args.folder)
    from bdd100k.detector import load_model
    from mrcnn.engine.checkpoints import save_checkpoint
    from mrcnn.foreign.export import save_torchvision

    found = check_file(source)
    model, categories = load_model(str(source), "logs", None, [], MIN_SCORE)
    names = [name for _, name in categories]
    if suffix == ".pth":
        save_torchvision(model.keras_model, model.config, args.target)
    else:
        model.config.NAME = "converted"
        save_checkpoint(model.keras_model, args.target, model.config, names, epoch=0)
    print(printable(f"{args.target}: {model.config.BACKBONE}, {len(categories) - 1} classes"))
    if found.entry is not None:
        print(f"  licence: {licence_of(found.entry)}")
    return 0


def check(args: argparse.Namespace) -> int:
    """Say what files are; return 1 if one is not the published file of its name."""
    wrong = False
    for name in args.files:
        found = check_file(here(name, args.folder))
        wrong |= found.differs is not None
        print(printable(found.path))
        print(f"  {found.verdict}")
        print(f"  {found.kind}: {found.tensors} tensors, {found.numbers:,} parameters and statistics")
        print(f"  sha256 {found.sha256}")
        if found.entry is not None:
            print(f"  licence: {licence_of(found.entry)}", flush=True)
    return int(wrong)


def main() -> int:
    args = parse_arguments()
    logging.getLogger("mrcnn").setLevel(logging.INFO)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
