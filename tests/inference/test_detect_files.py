"""Tests detection in files: pictures and JSON contain what detect() returns, for every kind of file."""

import importlib.util
import json
import pathlib

import cv2
import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from bdd100k import detector
from bdd100k.labels.load import load_labels
from bdd100k.labels.results import ScalabelFrames
from mrcnn import errors
from mrcnn.annotations.object_masks import object_mask
from mrcnn.annotations.schema import AnnotatedImage
from mrcnn.data.images import read_image
from mrcnn.errors import InputError
from mrcnn.inference.detect_files import detect_files
from mrcnn.inference.media import VideoFile, count_frames, find_sources, read_frames
from mrcnn.inference.writers import CocoResults, Pictures
from mrcnn.modeling.coco_classes import COCO_CLASSES
from mrcnn.modeling.weights import save_weights
from tests.shapes import ShapesConfig, ShapesDataset

NAMES = ["BG", "car", "truck", "bus"]
SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "detect.py"


@pytest.fixture(scope="module")
def images():
    """Draw images of two sizes."""
    dataset = ShapesDataset().load_shapes(12)
    drawn = [dataset.load_image(i) for i in dataset.image_ids]
    return [cv2.resize(image, (200, 100)) if i == 1 else image for i, image in enumerate(drawn)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images):
    """Write a.png, sub/b.png, a truncated file, and a video of ten frames."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "sub").mkdir()
    cv2.imwrite(str(folder / "a.png"), images[0][..., ::-1])
    cv2.imwrite(str(folder / "sub" / "b.png"), images[1][..., ::-1])
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:900])
    (folder / "notes.txt").write_text("no image")
    with VideoFile(folder / "clip.avi", 10, (96, 128)) as video:
        for image in images[2:]:
            video.add(image)
    return folder


@pytest.fixture(scope="module")
def expected(folder, model, images):
    """Return name -> the result of detect() for the image as stored in the file."""
    frames = read_frames(find_sources([folder]), lambda *_: None)
    return {frame.name: (frame.image, model.detect([frame.image])[0]) for frame in frames}


@pytest.fixture
def run(monkeypatch, model):
    """Return a function that runs the script with the tiny model instead of one from a file."""
    spec = importlib.util.spec_from_file_location("detect_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(*arguments, fake=True):
        monkeypatch.setattr("sys.argv", ["detect.py", *map(str, arguments)])
        if fake:
            monkeypatch.setattr(detector, "load_model", lambda *_: (model, list(enumerate(NAMES))))
        return errors.exit_code(script.main)

    return run


def test_frames_of_images_and_videos(folder, images):
    failed = []
    sources = find_sources([folder])
    assert [s.name for s in sources] == ["a.png", "broken.png", "clip.avi", "sub/b.png"]
    assert count_frames(sources) == 13
    frames = list(read_frames(sources, lambda source, reason: failed.append((source.name, reason))))
    assert [f.name for f in frames] == ["a.png", *(f"clip-{i:07d}.jpg" for i in range(1, 11)), "sub/b.png"]
    np.testing.assert_array_equal(frames[0].image, images[0])
    np.testing.assert_array_equal(frames[-1].image, images[1])
    for frame, image in zip(frames[1:11], images[2:], strict=True):  # JPEG halves the colours and blurs the noise
        assert np.abs(frame.image.astype(int) - image).mean() < 12 and frame.fps == 10
    ((name, reason),) = failed
    assert name == "broken.png" and "is truncated" in reason


RARE = ("gif", "jp2", "tga", "pcx", "ppm", "sgi", "dds", "jfif")


def test_a_folder_of_rare_formats(run, images, tmp_path, capsys):
    """What OpenCV or Pillow reads is read; results have a format that OpenCV writes. The rest is counted and named."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for suffix in RARE:
        PIL.Image.fromarray(images[0]).save(folder / f"{suffix}.{suffix}")
    PIL.Image.fromarray(images[0]).convert("L").save(folder / "gray.pgm")
    for name in ("phone.HEIC", "layers.psd", "raw.cr2", "drawing.svg", "broken.gif"):
        (folder / name).write_bytes(b"not read by what is installed")
    (folder / "notes.txt").write_text("no image")
    assert run(folder, "--out", out) == 1
    said = capsys.readouterr().out
    assert "9 images or frames" in said and "5 of 14 files could not be read" in said
    assert all(f"  {folder / name}" in said for name in ("phone.HEIC", "layers.psd", "raw.cr2", "drawing.svg"))
    others = {f"{name}.png" for name in ("tga.tga", "pcx.pcx", "sgi.sgi", "dds.dds", "jfif.jfif", "gray.pgm")}
    assert {p.name for p in out.iterdir()} == {"gif.gif", "jp2.jp2", "ppm.ppm", *others}
    assert cv2.imread(str(out / "tga.tga.png")).shape == images[0].shape


def test_results_of_rare_formats_do_not_overwrite_others(tmp_path):
    for name in ("a.tga", "a.png", "b.webm", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    found = {s.name: (s.is_video, s.result_name) for s in find_sources([tmp_path], tmp_path / "out")}
    assert found == {
        "a.tga": (False, "a.tga.png"),
        "a.png": (False, "a.png"),
        "b.webm": (True, "b.webm.mp4"),
        "b.mp4": (True, "b.mp4"),
    }
    (tmp_path / "a.tga.png").write_bytes(b"")
    with pytest.raises(InputError, match="would give results of one name, a.tga.png"):
        find_sources([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("scale", [1, 255.0])
def test_tiff_of_32_bits(tmp_path, images, scale):
    """Floats of 0 to 1, or numbers of 0 to 255 of any type, are 8-bit images; no other range says what is white."""
    colours, gray = images[0], images[0][..., 0]
    cv2.imwrite(str(tmp_path / "colours.tif"), (colours / scale).astype(np.float32)[..., ::-1])
    cv2.imwrite(str(tmp_path / "gray.tif"), (gray / scale).astype(np.float32))
    PIL.Image.fromarray(gray.astype(np.int32)).save(tmp_path / "whole.tif")
    PIL.Image.fromarray(gray.astype(np.int32) * 1000).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "colours.tif"), colours)
    for name in ("gray.tif", "whole.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.stack([gray] * 3, axis=-1))
    with pytest.raises(InputError, match=r"deep.tif: the image holds int32 numbers from \d+ to \d+000.*8 or 16 bits"):
        read_image(tmp_path / "deep.tif")


def test_coco_results_are_what_detect_finds(run, folder, expected, tmp_path, capsys, caplog):
    assert run(folder, "--out", tmp_path, "--json", "coco") == 1
    said = capsys.readouterr().out
    assert "12 images or frames" in said and "broken.png" in said and "is truncated" in caplog.text
    coco = COCO(tmp_path / "images.json").loadRes(str(tmp_path / "detections.json"))
    assert sorted(coco.getImgIds()) == sorted(expected)
    for name, (image, found) in expected.items():
        info, entries = coco.imgs[name], coco.imgToAnns[name]
        assert (info["height"], info["width"]) == image.shape[:2] and len(entries) == len(found["scores"]) > 0
        for i, entry in enumerate(entries):
            y1, x1, y2, x2 = found["rois"][i]
            assert entry["bbox"] == [x1, y1, x2 - x1, y2 - y1]
            assert entry["score"] == pytest.approx(found["scores"][i], abs=1e-5)
            assert NAMES[found["class_ids"][i]] == entry["category_name"]
            np.testing.assert_array_equal(coco.annToMask(entry), found["masks"][..., i])


def test_scalabel_frames_are_what_detect_finds(run, folder, expected, tmp_path):
    assert run(folder / "a.png", folder / "clip.avi", "--out", tmp_path, "--json", "scalabel", "--no-pictures") == 0
    assert [p.name for p in tmp_path.iterdir()] == ["detections.json"]
    raw = json.loads((tmp_path / "detections.json").read_text())
    assert [frame.get("frameIndex") for frame in raw] == [None, *range(10)] and raw[3]["videoName"] == "clip.avi"
    labels = load_labels(tmp_path / "detections.json")
    assert not labels.findings.entries
    for frame in labels.images:
        check_scalabel(frame, *expected[frame.name])


def check_scalabel(frame: AnnotatedImage, image: np.ndarray, found: dict) -> None:
    assert frame.size == image.shape[:2] and len(frame.objects) == len(found["scores"]) > 0
    for i, label in enumerate(frame.objects):
        y1, x1, y2, x2 = found["rois"][i]
        assert label.box_px == (x1, y1, x2, y2) and label.name == NAMES[found["class_ids"][i]]
        assert label.score == pytest.approx(found["scores"][i], abs=1e-5)
        drawn, pasted = np.zeros((2, *image.shape[:2]), bool)
        (top, left, bottom, right), crop = object_mask(label, image.shape[:2])
        drawn[top:bottom, left:right] = crop
        pasted |= found["masks"][..., i]
        np.testing.assert_array_equal(drawn, pasted)


def test_pictures_change_under_the_masks(model, folder, expected, tmp_path):
    sources = [s for s in find_sources([folder], tmp_path) if s.name != "broken.png"]
    with Pictures(tmp_path, NAMES) as pictures:
        summary = detect_files(model, sources, NAMES, [pictures], batch_size=5)
    assert summary.frames == 12 and not summary.failed
    image, found = expected["a.png"]
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    assert picture.shape == image.shape
    moved = np.any(picture != image, axis=-1)
    assert moved[found["masks"].any(axis=-1)].mean() > 0.95
    video = [f.image for f in read_frames(find_sources([tmp_path / "clip.avi"]), lambda *_: None)]
    assert len(video) == 10
    for n, frame in enumerate(video, 1):  # tinted where something was detected, unchanged elsewhere except for JPEG
        image, found = expected[f"clip-{n:07d}.jpg"]
        changed, covered = np.abs(frame.astype(int) - image).mean(axis=-1), found["masks"].any(axis=-1)
        assert changed[covered].mean() > 25


def test_nothing_found_is_an_empty_list(model, folder, tmp_path):
    class Blind:
        def detect_instances(self, images):
            return [
                {
                    "rois": np.zeros((0, 4), int),
                    "class_ids": np.zeros(0, int),
                    "scores": np.zeros(0),
                    "mask_probs": np.zeros((0, 28, 28)),
                }
                for _ in images
            ]

    sources = find_sources([folder / "a.png"], tmp_path)
    with CocoResults(tmp_path, list(enumerate(NAMES))) as sink, Pictures(tmp_path, NAMES) as pictures:
        detect_files(Blind(), sources, NAMES, [sink, pictures])
    assert json.loads((tmp_path / "detections.json").read_text()) == []
    assert [i["id"] for i in json.loads((tmp_path / "images.json").read_text())["images"]] == ["a.png"]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), cv2.imread(str(folder / "a.png")))


@pytest.mark.parametrize("ids", [[0, 10, 20, 90], [0, 1, 2, 3]])
def test_categories_have_their_own_ids(folder, tmp_path, ids):
    class Three:
        def detect_instances(self, images):
            rois = np.array([[5, 6, 25, 46], [0, 0, 10, 10], [60, 70, 96, 128]])
            return [
                {
                    "rois": rois,
                    "class_ids": np.array([3, 1, 2]),
                    "scores": np.array([0.9, 0.8, 0.7]),
                    "mask_probs": np.ones((3, 28, 28), np.float32),
                }
                for _ in images
            ]

    with CocoResults(tmp_path, list(zip(ids, NAMES, strict=True))) as sink:
        summary = detect_files(Three(), find_sources([folder / "a.png"], tmp_path), NAMES, [sink])
    entries = json.loads((tmp_path / "detections.json").read_text())
    assert [(e["category_id"], e["category_name"], e["bbox"]) for e in entries] == [
        (ids[3], "bus", [6, 5, 40, 20]),
        (ids[1], "car", [0, 0, 10, 10]),
        (ids[2], "truck", [70, 60, 58, 36]),
    ]
    assert summary.objects == {"bus": 1, "car": 1, "truck": 1}


def test_an_error_leaves_what_was_there(model, folder, tmp_path):
    (tmp_path / "detections.json").write_text("earlier")

    class Bad:
        def detect_instances(self, images):
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError), ScalabelFrames(tmp_path, NAMES) as sink:
        detect_files(Bad(), find_sources([folder / "a.png"], tmp_path), NAMES, [sink])
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("detections.json", "earlier")]


def test_a_video_that_breaks_off_is_reported(folder, tmp_path):
    data = (folder / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: len(data) // 2])
    failed = []
    frames = list(read_frames(find_sources([tmp_path]), lambda source, reason: failed.append(reason)))
    assert 0 < len(frames) < 8 and "clip.avi: ends after" in failed[0]


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["missing.jpg"], "missing.jpg: no such file"),
        (["{folder}/sub", "{folder}/sub"], "would give results of one name, b.png"),
        (["{folder}", "--out", "{folder}"], "also the folder for the results"),
        (["{folder}/a.png", "--out", "{folder}"], "would overwrite it"),
        (["{empty}"], "no images or videos"),
        (["{folder}/a.png", "--no-pictures"], "nothing to write"),
        (["{folder}/a.png", "--weights", "none"], "names no trained weights"),
        (["{folder}/a.png", "--weights", "last", "--logs", "{empty}"], "no run with a checkpoint"),
    ],
)
def test_wrong_use_ends_with_2(run, folder, tmp_path, capsys, arguments, message):
    filled = [a.format(folder=folder, empty=tmp_path) for a in arguments]
    with_out = filled if "--out" in filled else [*filled, "--out", tmp_path / "out"]
    assert run(*with_out, fake=False) == 2
    assert message in capsys.readouterr().err


def test_score_out_of_range(run, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run(folder / "a.png", "--min-score", "3")
    assert stop.value.code == 2 and "'3' is not a number from 0 to 1" in capsys.readouterr().err


def test_weights_of_another_program(model, expected, tmp_path, caplog):
    """A file without settings and classes: settings are Matterport's and --set, and classes are counted."""
    save_weights(model.keras_model, tmp_path / "theirs.h5")
    tiny, usual = ShapesConfig(), detector.PublishedConfig()
    settings = [
        f"{key}={getattr(tiny, key)!r}"
        for key in usual.settable()
        if key not in ("NAME", "NUM_CLASSES")
        and not callable(getattr(tiny, key))
        and not np.array_equal(getattr(tiny, key), getattr(usual, key))
    ]
    with caplog.at_level("INFO"):
        other, categories = detector.load_model(str(tmp_path / "theirs.h5"), "logs", None, settings, 0.05)
    assert "Matterport's with ResNet-101" in caplog.text
    assert categories == [(0, "BG"), (1, "class 1"), (2, "class 2"), (3, "class 3")]
    image, found = expected["a.png"]
    again = other.detect([image])[0]
    np.testing.assert_array_equal(again["rois"], found["rois"])
    np.testing.assert_allclose(again["scores"], found["scores"], atol=1e-5)


def test_min_score_leaves_out_weaker_ones(model, expected, tmp_path):
    save_weights(
        model.keras_model,
        tmp_path / "ours.h5",
        attrs={"mrcnn_config": json.dumps(model.config.to_dict()), "class_names": json.dumps(NAMES)},
    )
    image, found = expected["a.png"]
    middle = float(np.median(found["scores"]))
    other, categories = detector.load_model(str(tmp_path / "ours.h5"), "logs", None, [], middle)
    assert [name for _, name in categories] == NAMES
    left = other.detect([image])[0]["scores"]
    assert 0 < len(left) < len(found["scores"]) and left.min() >= middle - 1e-6


def test_coco_classes_have_cocos_ids():
    assert len(COCO_CLASSES) == 81 and COCO_CLASSES[1] == (1, "person") and COCO_CLASSES[80] == (90, "toothbrush")
    assert dict(COCO_CLASSES)[44] == "bottle" and dict(COCO_CLASSES)[67] == "dining table"  # after gaps in the ids
