"""--data with any folder: whose classes it has, the settings that follow, the checkpoints that fit."""

import json

import cv2
import h5py
import numpy as np
import pytest

from bdd100k import cli, open_data
from bdd100k.config import CLASS_NAMES, CustomConfig
from bdd100k.dataset import BDD100KDataset
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.errors import InputError
from tests.annotated import KINDS, coco_document, folder, masks, picture, write

SQUARE = [{"vertices": [[2, 1], [6, 1], [6, 4], [2, 4]], "types": "LLLL", "closed": True}]
FRAMES = [{"name": f"{n}.jpg", "labels": [{"id": 0, "category": "car", "poly2d": SQUARE}]} for n in "ab"]


@pytest.fixture(autouse=True)
def fresh():
    open_data.is_custom.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_folders_with_classes_of_their_own(tmp_path, kind):
    folder(tmp_path, kind, ("a", "b", "c"))
    assert open_data.is_custom(str(tmp_path))
    train, val = (open_data.open_dataset(str(tmp_path), split) for split in ("train", "val"))
    assert isinstance(train, AnnotatedDataset)
    assert (len(train.image_ids), len(val.image_ids)) == (2, 1)
    np.testing.assert_array_equal(train.load_mask(0)[0], masks())
    assert cli.config_class(None, str(tmp_path)) is CustomConfig
    config = cli.build_config(None, str(tmp_path), None, ["IMAGES_PER_GPU=3"])
    cli.follow_classes(config, train.class_names)
    assert [len(train.class_names), 3] == [config.NUM_CLASSES, config.BATCH_SIZE]
    assert len(train.class_names) == config.IMAGE_META_SIZE - 12


def bdd_coco():
    document = coco_document()
    names = ["Pedestrian", *CLASS_NAMES[1:], "traffic light"]
    return document | {"categories": [{"id": 5 + i, "name": name} for i, name in enumerate(names)]}


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ({"images/10k/train/a.jpg": None, "labels/ins_seg/polygons/ins_seg_train.json": FRAMES}, "car"),
        ({"a.jpg": None, "labels.json": FRAMES}, "car"),
        ({"a.jpg": None, "labels.json": {"frames": FRAMES}}, "car"),
        ({"a.jpg": None, "a.json": {"name": "a.jpg", "labels": FRAMES[0]["labels"]}}, "car"),
        ({"a.jpg": None, "coco.json": bdd_coco()}, "pedestrian"),
        ({"images/a.jpg": None, "labels.json": FRAMES, "classes.txt": "x", "labels/a.txt": "0 0.5 0.5 0.1 0.1"}, "car"),
    ],
)
def test_bdd100k_in_any_layout_keeps_its_classes(tmp_path, files, first):
    for name, content in files.items():
        picture(tmp_path / name) if content is None else write(tmp_path / name, content)
    dataset = open_data.open_dataset(str(tmp_path), "train")
    assert isinstance(dataset, BDD100KDataset)
    assert dataset.class_names == ["BG", *CLASS_NAMES]
    assert dataset.class_names[dataset.load_instances(0).class_ids[0]] == first
    assert cli.config_class(None, str(tmp_path)).NAME == "bdd100k"


def test_bitmasks_beside_images_are_bdd100ks(tmp_path):
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "bitmasks").mkdir()
    pixels = np.zeros((12, 20, 4), np.uint8)
    pixels[1:4, 2:6] = (0, 0, 3, 1)  # BGRA: car, instance 1
    cv2.imwrite(str(tmp_path / "bitmasks/a.png"), pixels)
    assert not open_data.is_custom(str(tmp_path))
    assert open_data.open_dataset(str(tmp_path), "train").load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6]]


def test_rectangles_serve_when_asked_for(tmp_path):
    picture(tmp_path / "a.jpg")
    box = {"x1": 2, "y1": 1, "x2": 5, "y2": 3}
    write(tmp_path / "l.json", [{"name": "a.jpg", "labels": [{"id": 0, "category": "car", "box2d": box}]}])
    with pytest.raises(InputError, match="--rectangles"):
        open_data.open_dataset(str(tmp_path), "train")
    dataset = open_data.open_dataset(str(tmp_path), "train", rectangles=True)
    assert dataset.load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6]]


def checkpoint(path, **attrs):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"conv1"])
        for key, value in attrs.items():
            file.attrs[key] = json.dumps(value)
    return str(path)


def test_checkpoint_of_other_classes_is_refused(tmp_path):
    leaves = checkpoint(tmp_path / "a.h5", class_names=["BG", "leaf", "stem"], mrcnn_config={"NAME": "custom"})
    cli.refuse_other_classes(leaves, ["BG", "leaf", "stem"])
    for others in (["BG", "stem", "leaf"], ["BG", "leaf"], ["BG", "leaf", "stem", "bud"]):
        with pytest.raises(InputError, match=rf"a\.h5 was trained on the classes leaf, stem; the data has {others[1]}"):
            cli.refuse_other_classes(leaves, others)
    many = ["BG", *(f"c{i}" for i in range(80))]
    with pytest.raises(InputError, match=r"c11 and 68 more\. Give --weights"):
        cli.refuse_other_classes(leaves, many)


def test_checkpoints_that_do_not_say_their_classes(tmp_path):
    """Files of other programs are taken; those of this one for BDD100K, written earlier, have its classes."""
    cli.refuse_other_classes(checkpoint(tmp_path / "a.h5"), ["BG", "leaf"])
    older = checkpoint(tmp_path / "b.h5", mrcnn_config={"NAME": "streets"})
    cli.refuse_other_classes(older, ["BG", *CLASS_NAMES])
    with pytest.raises(InputError, match="pedestrian, rider, car"):
        cli.refuse_other_classes(older, ["BG", *(f"c{i}" for i in range(8))])
    assert cli.trained_classes(older) == ["BG", *CLASS_NAMES]


def test_settings_of_a_checkpoint_but_the_name_of_the_data(tmp_path):
    folder(tmp_path / "data", "via")
    path = checkpoint(tmp_path / "a.h5", mrcnn_config={"NAME": "streets", "BACKBONE": "resnet18", "NUM_CLASSES": 9})
    config = cli.build_config(None, str(tmp_path / "data"), path, [])
    assert (config.NAME, config.BACKBONE, config.NUM_CLASSES) == ("custom", "resnet18", 9)
    cli.follow_classes(config, ["BG", "leaf", "stem"])
    assert config.NUM_CLASSES == 3


def test_list_of_held_out_images(tmp_path):
    folder(tmp_path, "labelme", tuple(f"i{n}" for n in range(10)))
    open_data.hold_out(str(tmp_path), 3)
    held = {info["name"] for info in open_data.open_dataset(str(tmp_path), "test").image_info}
    rest = {
        info["name"] for split in ("train", "val") for info in open_data.open_dataset(str(tmp_path), split).image_info
    }
    assert len(held) == 3
    assert not held & rest
    assert len(held | rest) == 10


def test_real_folders(shared_data):
    assert open_data.is_custom(str(shared_data / "coco128"))
    for name in ("bdd_sample", "bdd_det20", "bdd_labels_only"):
        assert not open_data.is_custom(str(shared_data / name))
