"""Runs the commands and code blocks of the documents unchanged.

The files that they name (DIR, photos/, leaves ...) are created in the folder in which they run. Networks, images,
epochs and drawn scenes are made small by patching, to save time.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import time
import types
from typing import Any

import cv2
import numpy as np
import pytest

from tests.annotated import folder as annotated_folder
from tests.foreign import state_dicts

ROOT = pathlib.Path(__file__).parent.parent
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
WIDTHS = {
    "BACKBONE_WIDTH": 16,
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "RPN_CHANNELS": 16,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 16,
    "MASK_HEAD_CHANNELS": 8,
}
SMALL = WIDTHS | {
    "IMAGE_MIN_DIM": 128,
    "IMAGE_MAX_DIM": 128,
    "IMAGES_PER_GPU": 1,
    "PRE_NMS_LIMIT": 100,
    "POST_NMS_ROIS_TRAINING": 20,
    "POST_NMS_ROIS_INFERENCE": 10,
    "TRAIN_ROIS_PER_IMAGE": 8,
    "MAX_GT_INSTANCES": 20,
    "DETECTION_MAX_INSTANCES": 5,
    "STEPS_PER_EPOCH": 1,
    "VALIDATION_STEPS": 1,
}
FEW = 2  # images of each split
run_process = subprocess.run


def documents() -> list[str]:
    """Return the paths of all documents for users in running order, since some use the results of others."""
    found = [path for folder in ("docs", "weights") for path in sorted((ROOT / folder).glob("*.md"))]
    names = [str(path.relative_to(ROOT)) for path in found]
    first = ["README.md", "docs/training.md"]  # the first checkpoints
    return [*first, *(name for name in names if name not in first)]


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: language "" for commands, "python" for code, or "text" for blocks that are not run."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Return the words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def blocks(document: str) -> list[Block]:
    """Return all fenced blocks of a document."""
    text = (ROOT / document).read_text()
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
        for found in FENCE.finditer(text)
    ]


def lay_out(place: pathlib.Path) -> None:
    """Create the files that the documents name: DIR in BDD100K's layout, leaves with labelme's labels, plants with
    label images, photos, clip.mp4, mask_rcnn_coco.h5 and the file of coco-r50-v2.
    """
    from bdd100k.detector import PublishedConfig
    from bdd100k.labels.convert import convert
    from bdd100k.streets.scenes import write_streets
    from mrcnn.model import MaskRCNN
    from mrcnn.modeling.registry import REGISTRY

    data = place / "DIR"
    write_streets(data, FEW, FEW, 0, 3)
    for split in ("train", "val"):
        labels = data / "labels" / "ins_seg"
        (labels / "bitmasks").mkdir(exist_ok=True)
        convert(labels / "rles" / f"ins_seg_{split}.json", labels / "bitmasks" / split, "bitmask")
    annotated_folder(place / "leaves", "labelme", tuple("abcdefghij"))
    for split in ("train", "val"):
        (place / "plants" / split).mkdir(parents=True)
        write_plant(place / "plants" / split / "a")
    (place / "photos").mkdir()
    picture = next((data / "images" / "10k" / "val").glob("*.jpg"))
    (place / "photos" / "street.jpg").write_bytes(picture.read_bytes())
    clip = cv2.VideoWriter(str(place / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (128, 96))
    for shade in (60, 120):
        clip.write(np.full((96, 128, 3), shade, np.uint8))
    clip.release()
    coco = MaskRCNN("inference", PublishedConfig(), str(place / "logs"))
    coco.keras_model.save_weights(place / "mask_rcnn_coco.h5")
    sizes = state_dicts.Sizes((1, 1, 1, 1), True, classes=90)
    tensors = state_dicts.seeded(state_dicts.torchvision_v2(sizes))
    state_dicts.write(place / REGISTRY["coco-r50-v2"].file_name, tensors, "zip")


def write_plant(path: pathlib.Path) -> np.ndarray:
    """Write path.jpg, and path.png with the ids of two leaves; return the ids, uint8 [60, 80]."""
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:50], labels[40:60, 0:80] = 1, 9
    cv2.imwrite(f"{path}.png", labels)
    cv2.imwrite(f"{path}.jpg", np.full((60, 80, 3), 90, np.uint8))
    return labels


def make_small(monkeypatch: pytest.MonkeyPatch, place: pathlib.Path) -> None:
    """Patch in small settings and networks, one epoch, few scenes, and the weights in `place` instead of downloads."""
    import keras

    from bdd100k import cli, open_data
    from bdd100k.config import StreetsConfig
    from bdd100k.streets import scenes
    from bdd100k.training import recipes
    from bdd100k.training import run as training_run
    from mrcnn.backbones import RESNETS
    from mrcnn.config import Config
    from mrcnn.modeling import pretrained

    for kind in (Config, *cli.CONFIGS.values()):
        for name, value in SMALL.items():
            if name in vars(kind) and not (kind is StreetsConfig and name in WIDTHS):
                monkeypatch.setattr(kind, name, value)  # the layers of the shipped weights keep their sizes
    for name, stages in {"resnet50": (1, 1, 1, 1), "resnet101": (1, 1, 2, 1)}.items():
        monkeypatch.setitem(RESNETS, name, dataclasses.replace(RESNETS[name], blocks=stages))
    plan = recipes.plan
    monkeypatch.setattr(
        training_run,
        "plan",
        lambda recipe, config, layers, epochs, *rest: plan(recipe, config, layers, epochs or [1], *rest),
    )
    write = scenes.write_streets
    monkeypatch.setattr(
        scenes,
        "write_streets",
        lambda folder, train, val, test=0, seed=0, workers=1: write(
            folder, min(train, FEW), min(val, FEW), min(test, FEW), seed, 1
        ),
    )
    made = ("coco", "coco-r50-v2")
    for name in made:
        entry = dataclasses.replace(pretrained.REGISTRY[name], size=None, sha256_prefix=None)
        monkeypatch.setitem(pretrained.REGISTRY, name, entry)
    fetch = pretrained.fetch
    monkeypatch.setattr(
        pretrained, "fetch", lambda name, folder=pretrained.SHIPPED: fetch(name, place if name in made else folder)
    )
    open_data.is_custom.cache_clear()  # it remembers names of folders
    if keras.config.backend() == "tensorflow":  # a step of a small network is run sooner than traced
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)


def make_large_again() -> None:
    """Undo the changes that `monkeypatch` does not undo."""
    import keras

    from bdd100k import open_data

    open_data.is_custom.cache_clear()
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(False)


class Runner:
    """Runs blocks in a folder and in this process, so that TensorFlow is imported only once."""

    def __init__(self, place: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.monkeypatch = place, monkeypatch
        self.names: dict[str, dict] = {}  # names defined by the code of each document

    def code(self, block: Block, **given: object) -> dict:
        """Run a Python block after the earlier ones of its document; return the names defined by then."""
        names = self.names.setdefault(block.document, {"__name__": "__main__"} | given)
        with contextlib.chdir(self.place):
            exec(compile("\n" * block.line + block.text, str(ROOT / block.document), "exec"), names)
        return names

    def script(self, words: list[str]) -> int:
        """Run `python scripts/NAME.py ARGUMENTS`; return the exit code."""
        from mrcnn import errors

        main = self.load(words)["main"]
        with contextlib.chdir(self.place):
            return errors.exit_code(main)

    def parse(self, words: list[str]) -> None:
        """Let the script parse its options only."""
        names = self.load(words)
        names["make_parser"]().parse_args(words[2:]) if "make_parser" in names else names["parse_arguments"]()

    def load(self, words: list[str]) -> dict:
        """Load a script as if it were called with these words; return its names."""
        assert words[0] == "python", f"{shlex.join(words)}: only Python scripts are known here"
        self.monkeypatch.setattr(sys, "argv", words[1:])
        self.monkeypatch.syspath_prepend(ROOT / "scripts")  # as Python does
        return runpy.run_path(str(ROOT / words[1]))

    def process(self, command: list[str], **options: Any) -> Any:
        """Replace subprocess.run, running scripts of this repository in this process."""
        if command[0] != sys.executable:
            return run_process(command, **options)
        script = pathlib.Path(command[1]).relative_to(ROOT)
        return types.SimpleNamespace(returncode=self.script(["python", str(script), *command[2:]]))

    def leave_an_epoch(self) -> None:
        """Change the newest run of the script to one that was stopped before its last epoch."""
        record = max(self.place.glob("logs/*/run.json"), key=os.path.getmtime)
        run = json.loads(record.read_text())
        run["stages"][-1]["epochs"] += 1
        del run["sha256"]  # else --resume would refuse what was edited
        record.write_text(json.dumps(run))
        record.with_name("training.state").touch()  # a run from code may be newer

    def results(self, words: list[str]) -> list[pathlib.Path]:
        """Return the files and folders that a command must write, according to its options."""
        options = dict(itertools.pairwise(words))
        name = pathlib.Path(words[1]).stem
        out = self.place / options.get("--out", {"evaluate": "runs/evaluation", "detect": "runs/detect"}.get(name, "."))
        if name == "train":
            return [max(self.place.glob("logs/*/*_0*.h5"), key=os.path.getmtime, default=out)]
        if name == "evaluate":
            return [out / ("compare.html" if "--compare" in words else "result.json")]
        if name == "convert":
            return [self.place / words[3]]
        files = [self.place / options["--json"]] if options.get("--json", "").endswith(".json") else []
        if name == "detect":
            files += [out / "detections.json"] if "--json" in words else [out / "street.jpg", out / "clip.mp4"]
        return files + ([out] if "--out" in words else [])

    def run(self, words: list[str]) -> None:
        """Run a command; assert that it exits with 0 and writes its results."""
        if "--resume" in words:
            self.leave_an_epoch()
        began = time.time()
        assert self.script(words) == 0, shlex.join(words)
        for path in self.results(words):
            inside = [path, *path.rglob("*")] if path.is_dir() else [path]
            assert path.exists() and max(p.stat().st_mtime for p in inside) >= began - 1, f"{path} after {words}"


def make(target: str) -> str:
    """Return the commands that `make TARGET` would run."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
