"""YOLO labels as people have them: poses, rotated boxes, class names in any YAML file, byte order marks."""

import numpy as np
import pytest

from mrcnn.annotations.folder import open_folder
from mrcnn.errors import InputError
from tests.annotated import HEIGHT, WIDTH, folder, picture, write
from tests.field_cases import field_case

IMAGES = ("train/images/train0.jpg", "valid/images/valid0.jpg")
SQUARE = [[6.4, 9.6], [32, 48]]  # rows and columns of 0.1 to 0.5 in an image of 64 x 96


@pytest.mark.parametrize(
    ("name", "classes"),
    [("yolo_named_yaml", ["leaf"]), ("yolo_bom", ["leaf"]), ("yolo_apostrophe", ["rider's bag", "cone"])],
)
def test_names_from_the_field(tmp_path, name, classes):
    for split in ("train", "val"):
        root = field_case(tmp_path / split, name, *IMAGES, size=(64, 96))
        dataset = open_folder(root, split)
        assert dataset.class_names == ["BG", *classes]
        assert not dataset.findings.entries
        (box,) = dataset.load_instances(0).boxes_px
        assert np.abs(box.reshape(2, 2) - SQUARE).max() <= 0.5


def test_pose_labels_are_boxes(tmp_path):
    """The box is 0.4 x 0.4 around the middle of 64 x 96; its four keypoints (x, y) make no polygon."""
    root = field_case(tmp_path, "yolo_pose2", *IMAGES, size=(64, 96))
    with pytest.raises(InputError, match="all 1 objects are boxes without masks"):
        open_folder(root, "train")
    dataset = open_folder(root, "train", rectangles_as_masks=True)
    assert dataset.load_instances(0).boxes_px.tolist() == [[19, 29, 45, 67]]
    assert not dataset.findings.entries


def poses(tmp_path, lines, settings="names: [leaf, stem]"):
    """A data set with these lines as the labels of one image, and a plain box in another one."""
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    write(tmp_path / "data.yaml", settings)
    write(tmp_path / "labels/a.txt", "\n".join(lines))
    write(tmp_path / "labels/b.txt", "0 0.5 0.5 0.5 0.5")
    return tmp_path


def pose(numbers, x=0.5, y=0.5):
    """A line with the box 0.4 x 0.5 at (x, y) and a keypoint in each of its corners, of 2 or 3 numbers."""
    points = [(x + dx, y + dy, 2)[:numbers] for dx, dy in ((-0.2, -0.25), (0.2, -0.25), (0.2, 0.25), (-0.2, 0.25))]
    return " ".join(f"{v:g}" for v in (0, x, y, 0.4, 0.5, *np.ravel(points)))


def boxes_of(dataset):
    return [dataset.load_instances(i).boxes_px.tolist() for i in dataset.image_ids]


@pytest.mark.parametrize("numbers", [2, 3])
def test_poses_with_and_without_visibility(tmp_path, numbers):
    root = poses(tmp_path, [pose(numbers)], f"names: [leaf]\nkpt_shape: [4, {numbers}]")
    found = boxes_of(open_folder(root, rectangles_as_masks=True))
    assert found == [[[3, 6, 9, 14]], [[3, 5, 9, 15]]]  # centre (6, 10), 6 x 8 px; and 6 x 10 px


def test_poses_of_another_length_are_named(tmp_path):
    root = poses(tmp_path, [pose(2), pose(3)], "names: [leaf]\nkpt_shape: [4, 2]")
    dataset = open_folder(root, rectangles_as_masks=True)
    (finding,) = dataset.findings.entries
    assert "label 'line 2': has 16 numbers after the class; kpt_shape [4, 2] needs 12" in str(finding)
    assert len(boxes_of(dataset)[0]) == 1


@pytest.mark.parametrize("value", ["5", "[a, 2]", "[4, 5]", "[4]", "{a: 2}", "[[4], 2]"])
def test_kpt_shape_that_cannot_be(tmp_path, value):
    root = poses(tmp_path, [pose(2)], f"names: [leaf]\nkpt_shape: {value}")
    with pytest.raises(InputError, match=r"data\.yaml: kpt_shape is .*write \[number of keypoints, 2 or 3\]"):
        open_folder(root)


@pytest.mark.parametrize("places", [[(0.5, 0.5), (0.4, 0.6)], [(0.3 + i / 60, 0.5) for i in range(12)]])
def test_lines_that_fit_both_readings_are_refused(tmp_path, places):
    lines = [pose(2, x, y) for x, y in places]
    with pytest.raises(InputError, match=r"may be polygons, or .*'task: segment' .*'kpt_shape: \[4, 2\]' for poses"):
        open_folder(poses(tmp_path, lines))
    dataset = open_folder(poses(tmp_path / "polygons", lines, "names: [leaf]\ntask: segment"))
    assert [len(label.polygons[0]) for label in dataset.image_info[0]["annotated"].objects] == [6] * len(lines)


def test_one_line_that_fits_both_readings_is_read_with_a_warning(tmp_path, caplog):
    dataset = open_folder(poses(tmp_path, [pose(2)]))
    assert len(dataset.load_instances(0)) == 1
    assert "kpt_shape: [4, 2]" in caplog.text


def test_poses_that_can_be_nothing_else(tmp_path, caplog):
    """A visibility of 2 is no coordinate; one faulty line among many does not change that."""
    lines = [pose(3, 0.3 + i / 60) for i in range(12)] + ["0 0.1 0.1 0.4 0.1 0.4 0.4"]
    dataset = open_folder(poses(tmp_path, lines), rectangles_as_masks=True)
    assert [len(boxes) for boxes in boxes_of(dataset)] == [12, 1]
    assert "'line 13': has 6 numbers" in str(dataset.findings.entries[0])


@pytest.mark.parametrize(
    "outline",
    [
        [(0.4, 0.4), (0.7, 0.4), (0.7, 0.8), (0.4, 0.8)],
        [(0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5)],
        [(0.6, 0.6), (0.64, 0.6), (0.66, 0.62), (0.64, 0.64), (0.6, 0.64)],  # small, so the box is far too large
        [(0.1, 0.1), (0.5, 0.1), (0.6, 0.3), (0.5, 0.5), (0.1, 0.5)],
    ],
)
def test_polygons_are_not_taken_for_poses(tmp_path, outline):
    """Rotated boxes (OBB) are polygons of four corners."""
    line = "0 " + " ".join(f"{v:g}" for v in np.ravel(outline))
    dataset = open_folder(poses(tmp_path, [line, line.replace("0 ", "1 ", 1)]))
    expected = np.array(outline) * (WIDTH, HEIGHT)
    for label in dataset.image_info[0]["annotated"].objects:
        np.testing.assert_allclose(label.polygons[0], expected)


def test_random_polygons_are_not_taken_for_poses(tmp_path):
    """Blobs of eight corners anywhere in the image, as many data sets have them."""
    random = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    for trial in range(20):
        radius = random.uniform(0.03, 0.3, (12, 1))
        centre = random.uniform(radius, 1 - radius, (12, 2))
        blobs = centre[:, None] + radius[..., None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        lines = ["0 " + " ".join(f"{v:.5f}" for v in blob.ravel()) for blob in blobs]
        labels = open_folder(poses(tmp_path / str(trial), lines)).image_info[0]["annotated"].objects
        assert [len(label.polygons[0]) for label in labels] == [8] * 12


@pytest.mark.parametrize("name", ["my-data.yaml", "labels/coco8.YML", "Custom.yaml"])
def test_any_yaml_file_with_names(tmp_path, name):
    root = poses(tmp_path, ["0 0.1 0.1 0.5 0.1 0.5 0.5"])
    (root / "data.yaml").rename(root / name)
    write(root / "hyp.yaml", "lr0: 0.01\nnames_of_nothing: 3\nfilenames: 4")
    (root / "folder.yaml").mkdir()
    write(root / "broken.yaml", "a: [")
    assert open_folder(root).class_names == ["BG", "leaf", "stem"]
    write(root / "copy.yaml", '{nc: 2, "names": {0: leaf, 1: stem}}')
    assert open_folder(root).class_names == ["BG", "leaf", "stem"]
    write(root / "other.yaml", "names: [a]")
    with pytest.raises(InputError, match=r"\.(yaml|YML) and \S+ differ; call the right one data\.yaml"):
        open_folder(root)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["data.yaml", "own.yaml", "classes.txt"])
def test_byte_order_marks(tmp_path, name, encoding):
    """As the Windows programs Notepad and PowerShell write text."""
    folder(tmp_path, "yolo")
    (tmp_path / "classes.txt").unlink()
    text = "Bäume\nstem\n" if name == "classes.txt" else "names: [Bäume, stem]\n"
    (tmp_path / name).write_text(text, encoding=encoding)
    labels = tmp_path / "labels/a.txt"
    labels.write_text(labels.read_text(), encoding=encoding)
    dataset = open_folder(tmp_path)
    assert dataset.class_names == ["BG", "Bäume", "stem"]
    assert [len(dataset.load_instances(i)) for i in dataset.image_ids] == [2, 2]


def test_image_without_labels_among_poses(tmp_path):
    root = poses(tmp_path, [pose(2)], "names: [leaf]\nkpt_shape: [4, 2]")
    picture(root / "images/c.jpg")
    assert [len(b) for b in boxes_of(open_folder(root, rectangles_as_masks=True))] == [1, 1, 0]
