"""Outputs at hostile paths, on disks that are full, with hostile names in what is written."""

import contextlib
import dataclasses
import functools
import io
import json
import os
import pathlib
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from bdd100k.report.page import write_report
from bdd100k.report.tables import show
from mrcnn.errors import InputError
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.result import Result
from mrcnn.files import JsonListFile, folder_written_whole, make_folder, write_bytes, write_json
from mrcnn.inference.media import Frame, Source, VideoFile
from mrcnn.inference.writers import CocoResults, Pictures
from mrcnn.structures.instances import Instances
from mrcnn.visualization.drawing import write_png
from mrcnn.visualization.plots import plot_pr_curves
from tests.evaluation_scenes import Noisy, Scenes
from tests.hostile.cases import CONTROL, Case, ScriptResult, run_script
from tests.html_pages import parse

NAMES = (
    "car",
    "[/nope]",
    "[bold red]",
    "[link=https://example.org]a[/link]",
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "</title></svg><iframe>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b2J",
    "a\rb\x08",
    "evil\u202egnp.exe",
    "a\u2066b\u2028c",
    "half \ud800",
    "stra\udcdfe",
    "$\\frac{a}{b$",
    "$$",
    "a $ b",
    "a_{\\nope}$x$",
    "=cmd|' /C calc'!A0",
    "two\nlines",
    'comma, "quote"; tab\t',
    "nul\0here",
    "日本語 🚗",
    "\\",
    "",
    "x" * 100_000,
)
OLD = b"what was there before"
FULL_BYTES = 64  # of a file, where the disk is full


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an output goes.

    Attributes:
        path: the target.
        writable: whether a file or folder can be written there.
    """

    path: pathlib.Path
    writable: bool


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Write something with hostile names to a hostile path, on a disk that may be full."""
    kind = str(rng.choice([*WRITERS, "tables", "report", "plot", "script"], p=WEIGHTS))
    if kind == "tables":
        return tables(rng)
    if kind == "script":
        return script(rng, folder)
    where, place = choose_place(rng, folder, kind)
    names = [NAMES[i] for i in rng.choice(len(NAMES), 3, replace=False)]
    full = bool(rng.random() < 0.15)
    write = {"report": report, "plot": plot, **WRITERS}[kind]
    what = f"{kind} at {where}, names {[name[:30] for name in names]}" + (", disk full" if full else "")

    def use() -> Any:
        before = listing(folder)
        try:
            with disk_full() if full else contextlib.nullcontext():
                right = write(place, names, rng)
        except InputError:
            assert full or not place.writable, "refused what can be written"
            check_nothing_else(folder, before, place.path, refused=True)
            raise
        check_nothing_else(folder, before, place.path, refused=False)
        return right

    return Case(what, use, lambda result: place.writable and result is True)


def check_nothing_else(
    folder: pathlib.Path, before: dict[bytes, bytes | None], target: pathlib.Path, refused: bool
) -> None:
    """Check that only the target has changed, or nothing but folders on the way to it if it was refused."""
    now = listing(folder)
    changed = [path for path in now.keys() | before.keys() if now.get(path, b"-") != before.get(path, b"-")]
    for path in changed:
        on_the_way = now.get(path, b"") is None and is_below(os.fsencode(target), path)
        assert on_the_way or (not refused and is_below(path, os.fsencode(target))), f"left behind: {path!r}"


def is_below(path: bytes, folder: bytes) -> bool:
    """Return whether a path is a folder or in it."""
    return path == folder or path.startswith(folder + b"/")


def listing(folder: pathlib.Path) -> dict[bytes, bytes | None]:
    """Return all paths below a folder with the bytes of the files."""
    found: dict[bytes, bytes | None] = {}
    for top, folders, files in os.walk(os.fsencode(folder)):
        found |= dict.fromkeys((os.path.join(top, name) for name in folders), None)
        for name in files:
            path = os.path.join(top, name)
            found[path] = pathlib.Path(os.fsdecode(path)).read_bytes() if os.path.exists(path) else b""
    return found


@contextlib.contextmanager
def disk_full() -> Iterator[None]:
    """Refuse what goes beyond the first bytes of a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def choose_place(rng: np.random.Generator, folder: pathlib.Path, kind: str) -> tuple[str, Place]:
    """Choose a path for a kind of output, make what is to be there already, and return a description and the path."""
    suffix = {"video": ".mp4", "report": ".html", "plot": ".png", "png": ".png"}.get(kind, "")
    is_folder, makes_parents = kind in FOLDERS, kind in PARENTS
    odd = str(rng.choice(ODD))
    plain = folder / f"out{suffix}"
    where = str(rng.choice(WHERE))
    if where == "name":
        return f"name {odd!r}", Place(folder / f"{odd}{suffix}", True)
    if where == "folder":
        (folder / odd).mkdir()
        return f"folder {odd!r}", Place(folder / odd / f"out{suffix}", True)
    if where in ("long", "too long"):
        name = "n" * ((255 if where == "long" else 256) - len(suffix)) + suffix
        return where, Place(folder / name, where == "long")
    if where in ("nul", "half"):
        return where, Place(folder / f"a{chr(0) if where == 'nul' else chr(0xD800)}{suffix}", False)
    if where == "old":
        plain.mkdir() if is_folder else plain.write_bytes(OLD)
        return "an old one", Place(plain, True)
    if where == "other":
        plain.write_bytes(OLD) if is_folder else plain.mkdir()
        return "a file in place of a folder or the reverse", Place(plain, False)
    if where == "below a file":
        (folder / "file").write_bytes(OLD)
        return where, Place(folder / "file" / f"out{suffix}", False)
    if where == "missing folder":
        return where, Place(folder / "a" / "b" / f"out{suffix}", makes_parents)
    if where == "loop":
        plain.symlink_to(plain)
        return "a link to itself", Place(plain, False)
    if where == "proc":
        return "/proc", Place(pathlib.Path(f"/proc/none/out{suffix}"), False)
    return "/dev/full", Place(pathlib.Path("/dev/full/out" if is_folder else "/dev/full"), False)


ODD = ("str\udcdfe", "a\x1b[31mb", "a #?%&'\"<b>", "-rf", "日本", "\u202egnp", ".hidden", "[bold]")
WHERE = ("name", "folder", "long", "too long", "nul", "half", "old", "other", "below a file", "missing folder", "loop")
WHERE += ("proc", "full")


def write_a_json(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write JSON that has the names in it."""
    value = {"names": names, **{f"{n}{name}": [n, 0.5, None, True] for n, name in enumerate(names)}}
    write_json(place.path, value, indent=None if rng.random() < 0.5 else 1)
    return json.loads(place.path.read_bytes()) == whole(value)


def write_a_list(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write a list of JSON, entry by entry."""
    entries = [{"name": name} for name in names[: int(rng.integers(4))]]
    with JsonListFile(place.path) as file:
        for entry in entries:
            file.write(entry)
    return json.loads(place.path.read_bytes()) == whole(entries)


def whole(value: Any) -> Any:
    """Return a value as JSON must have it: a byte that is no UTF-8, or half a character, is spelt out."""
    if isinstance(value, str):
        return "".join(spelt(letter) for letter in value)
    if isinstance(value, dict):
        return {whole(key): whole(entry) for key, entry in value.items()}
    return [whole(entry) for entry in value] if isinstance(value, list) else value


def spelt(letter: str) -> str:
    """Return a letter, or its code if it is half of a pair."""
    if 0xDC80 <= ord(letter) <= 0xDCFF:
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return f"\\u{ord(letter):04x}" if 0xD800 <= ord(letter) <= 0xDFFF else letter


def write_some_bytes(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write random bytes."""
    data = rng.bytes(int(rng.integers(100, 5000)))
    write_bytes(place.path, data)
    return place.path.read_bytes() == data


def write_a_png(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write an image and decode it."""
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_png(place.path, image)
    return np.array_equal(decoded(place.path), image)


def decoded(path: pathlib.Path) -> np.ndarray:
    """Return an image file as RGB."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def write_a_video(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write a video of gray frames and decode it under a plain name."""
    levels = rng.integers(40, 200, 3).tolist()
    with VideoFile(place.path, 10.0, (64, 96)) as video:
        for level in levels:
            video.add(np.full((64, 96, 3), level, np.uint8))
    folder = os.open(place.path.parent, os.O_RDONLY)
    capture = cv2.VideoCapture(f"/proc/self/fd/{folder}/{place.path.name}") if place.path.name.isascii() else None
    if capture is None:
        copy = place.path.with_name("copy.mp4")
        copy.write_bytes(place.path.read_bytes())
        capture = cv2.VideoCapture(f"/proc/self/fd/{folder}/copy.mp4")
        copy.unlink()
    found = [float(frame.mean()) for done, frame in (capture.read() for _ in levels) if done]
    os.close(folder)
    return len(found) == len(levels) and bool(np.allclose(found, levels, atol=6))


def detected() -> tuple[np.ndarray, Instances, np.ndarray]:
    """Return an image with two instances and their scores."""
    crops = [np.ones((30, 40), bool), np.ones((20, 20), bool)]
    boxes = np.array([[5, 5, 35, 45], [40, 50, 60, 70]])
    return np.full((80, 90, 3), 120, np.uint8), Instances(np.array([1, 2]), boxes, crops), np.float32([0.9, 0.8])


def write_pictures(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write a picture whose captions are the names."""
    image, instances, scores = detected()
    with Pictures(place.path, ["BG", *names]) as pictures:
        pictures.add(Frame(Source(pathlib.Path("a.png"), "a.png"), image), instances, scores)
    return decoded(place.path / "a.png").shape == image.shape


def write_coco(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write COCO results with names of classes and images."""
    image, instances, scores = detected()
    with CocoResults(place.path, list(enumerate(["BG", *names]))) as results:
        results.add(Frame(Source(pathlib.Path("a.png"), names[2]), image), instances, scores)
    found = json.loads((place.path / "detections.json").read_bytes())
    listed = json.loads((place.path / "images.json").read_bytes())
    right = [(entry["category_name"], entry["image_id"]) for entry in found] == [
        (whole(name), whole(names[2])) for name in names[:2]
    ]
    return right and [category["name"] for category in listed["categories"]] == whole(names)


def write_a_folder(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write a folder that takes the place of an old one."""
    with folder_written_whole(place.path) as folder:
        for n in range(3):
            (folder / str(n)).write_bytes(b"x" * 100)
    return sorted(path.read_bytes() for path in place.path.iterdir()) == [b"x" * 100] * 3


def make_a_folder(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Make a folder."""
    return make_folder(place.path).is_dir()


WRITERS: dict[str, Callable[[Place, list[str], np.random.Generator], bool]] = {
    "json": write_a_json,
    "list": write_a_list,
    "bytes": write_some_bytes,
    "png": write_a_png,
    "video": write_a_video,
    "pictures": write_pictures,
    "coco": write_coco,
    "folder": write_a_folder,
}
WEIGHTS = [0.15, 0.1, 0.08, 0.08, 0.1, 0.12, 0.12, 0.08, 0.05, 0.04, 0.03, 0.05]  # tables, report, plot and script last
FOLDERS = ("pictures", "coco", "folder")
PARENTS = ("list", "pictures", "coco")


@functools.cache
def scenes_and_result() -> tuple[Scenes, Result]:
    """Return two evaluated images."""
    scenes = Scenes(images=2, objects=4, seed=3)
    scenes.class_names = ["BG", "class 1", "class 2", "class 3"]
    return scenes, evaluate(Noisy(scenes), scenes, samples=0)


def renamed(names: list[str]) -> tuple[Scenes, Result]:
    """Return the evaluation with other names of classes, images and slices."""
    other = Scenes(images=2, objects=4, seed=3)
    distinct = [f"{name}{n}" for n, name in enumerate(names)]
    other.class_names = ["BG", *distinct]
    for info, name in zip(other.class_info[1:], distinct, strict=True):
        info["name"] = name
    for info, name in zip(other.image_info, names, strict=False):
        info["id"] = info["path"] = name
    return other, evaluate(Noisy(other), other, samples=0)


def tables(rng: np.random.Generator) -> Case:
    """Print the tables of an evaluation."""
    names = [NAMES[i] for i in rng.choice(len(NAMES), 3, replace=False)]

    def use() -> str:
        console = Console(file=io.StringIO(), width=int(rng.choice([80, 160])))
        show(renamed(names)[1], console)
        return console.file.getvalue()  # type: ignore[attr-defined]

    def right(text: str) -> bool:
        words = re.findall("[A-Za-z0-9]+", names[0].partition("\n")[0])
        return not CONTROL.search(text) and "Average precision" in text and all(word[:1] in text for word in words[:1])

    return Case(f"tables, names {[name[:30] for name in names]}", use, right)


@functools.cache
def tags_and_attributes() -> frozenset[str]:
    """Return the tags and attributes of a report with plain names."""
    scenes, result = scenes_and_result()
    evaluated = {"data": "a", "split": "b", "predictions": "c", "settings": {"NAME": "d"}}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "report.html")
        write_report(path, result, scenes, scenes.image_ids, evaluated)  # type: ignore[arg-type]
        return found_in(path.read_text(encoding="utf-8"))


def found_in(page: str) -> frozenset[str]:
    """Return the tags and attributes of a page."""
    elements = parse(page).all()
    return frozenset(name for element in elements for name in (element.name, *element.attributes))


def report(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Write a report; names add no tag and no attribute."""
    scenes, result = renamed(names)
    evaluated = {"data": names[0], "split": names[1], "predictions": names[2], "settings": {names[0]: names[1]}}
    write_report(place.path, result, scenes, scenes.image_ids, evaluated)  # type: ignore[arg-type]
    page = place.path.read_text(encoding="utf-8")
    return not CONTROL.search(page) and found_in(page) <= tags_and_attributes()


def plot(place: Place, names: list[str], rng: np.random.Generator) -> bool:
    """Draw curves whose legend has the names."""
    scenes, result = renamed(names)
    plot_pr_curves(result, scenes.class_names, save=place.path)
    return min(decoded(place.path).shape[:2]) > 100


def script(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Convert labels with hostile names, with a script, to a hostile path."""
    source = folder / "source.json"
    names = [NAMES[i] for i in rng.choice(len(NAMES), 2, replace=False)]
    document = {
        "images": [{"id": 1, "file_name": f"{names[0]}.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": names[1]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 8], "segmentation": [[1, 2, 9, 2, 9, 8]]}
        ],
    }
    source.write_text(json.dumps(document), encoding="utf-8")
    to = str(rng.choice(["coco", "scalabel", "bitmask"]))
    work = folder / "work"
    work.mkdir()
    where, place = choose_place(rng, work, "folder" if to == "bitmask" else "json")

    def use() -> ScriptResult:
        before = listing(work)
        try:
            result = run_script("convert.py", str(source), os.fspath(place.path), "--to", to, "--force")
        except InputError:
            check_nothing_else(work, before, place.path, refused=True)
            raise
        check_nothing_else(work, before, place.path, refused=False)
        return result

    def right(result: ScriptResult) -> bool:
        wrote = place.writable and (place.path.is_dir() or isinstance(json.loads(place.path.read_bytes()), dict | list))
        return result.code == 0 and wrote and not CONTROL.search(result.out + result.err)

    return Case(f"convert to {to} at {where}, names {[name[:30] for name in names]}", use, right)
