"""One label form: COCO, Scalabel and bitmasks of the same objects are the same annotations, boxes and flags."""

import json

import numpy as np
import pytest
from PIL import Image

from bdd100k.dataset import BDD100KDataset
from bdd100k.labels.convert import convert
from bdd100k.labels.load import read_labels
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.folder import open_folder
from mrcnn.annotations.object_masks import object_mask, visible_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotation
from tests.annotated import HEIGHT, WIDTH, coco_document, folder, picture, write

BOX = {"x1": 2, "y1": 1, "x2": 5, "y2": 3}  # columns 2..5, rows 1..3


def scalabel(**label):
    size = {"width": WIDTH, "height": HEIGHT}
    return [{"name": "a.jpg", "size": size, "labels": [{"id": "1", "category": "car", **label}]}]


def test_boxes_of_scalabel_and_coco_are_the_same_inside(tmp_path):
    """x2 and y2 of Scalabel belong to the box; COCO has width and height. Writers take the 1 off again."""
    source = write(tmp_path / "s.json", scalabel(box2d=BOX, attributes={}))
    convert(source, tmp_path / "c.json", "coco")
    annotation = json.loads((tmp_path / "c.json").read_text())["annotations"][0]
    assert (annotation["bbox"], annotation["area"]) == ([2, 1, 4, 3], 12)
    del annotation["scalabel"]
    document = json.loads((tmp_path / "c.json").read_text()) | {"annotations": [annotation]}
    convert(write(tmp_path / "c2.json", document), tmp_path / "s2.json", "scalabel")
    assert json.loads((tmp_path / "s2.json").read_text())[0]["labels"][0]["box2d"] == BOX
    for name in ("s.json", "c.json", "s2.json"):
        (image,) = read_labels(tmp_path / name).images
        assert image.objects[0].box_px == (2, 1, 6, 4)
        assert object_mask(image.objects[0], image.size)[0].tolist() == [1, 2, 4, 6]


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 3.0])
def test_a_box_keeps_its_size_wherever_it_lies(shift):
    """Halves are rounded up: rounding to even would make some of these boxes a pixel wider and lose others."""
    for offset in (0.0, 0.25, 0.5, 0.75):
        x = shift + offset
        label = Annotation("1", "car", box_px=(x, x, x + 1, x + 2))
        (y1, x1, y2, x2), crop = object_mask(label, (12, 12))
        assert (y2 - y1, x2 - x1) == crop.shape == (2, 1)
        assert x1 == y1 == int(shift) + (offset >= 0.5)


def test_coco_flags_are_numbers_truth_values_or_text(tmp_path):
    folder(tmp_path, "coco", ("a",))
    document = coco_document(("a",))
    first = document["annotations"][0]
    values = [0, 1, "0", "1", False, True, "false", "true", None]
    document["annotations"] = [{**first, "id": i, "iscrowd": value} for i, value in enumerate(values)]
    write(tmp_path / "labels.json", document)
    crowd = open_folder(tmp_path).load_instances(0).crowd.tolist()
    assert crowd == [False, True, False, True, False, True, False, True, False]


def test_a_broken_box_beside_a_good_mask_does_not_matter(tmp_path):
    folder(tmp_path, "coco")
    document = coco_document()
    for annotation, box in zip(document["annotations"], ([1, 2, -3, 4], [None] * 4, "box", [1, 2]), strict=True):
        annotation["bbox"] = box
    write(tmp_path / "labels.json", document)
    dataset = open_folder(tmp_path)
    assert not dataset.findings.entries
    assert [len(dataset.load_instances(i)) for i in dataset.image_ids] == [2, 2]


def test_coco_without_sizes_is_read_for_bdd100k_too(tmp_path):
    folder(tmp_path, "coco", ("a",))
    document = coco_document(("a",)) | {"categories": [{"id": 5, "name": "Person"}, {"id": 9, "name": "car"}]}
    for side in ("height", "width"):
        del document["images"][0][side]
    write(tmp_path / "labels.json", document)
    dataset = BDD100KDataset()
    dataset.load_bdd100k(tmp_path)
    dataset.prepare()
    assert dataset.load_instances(0).boxes_px.tolist() == [[1, 2, 4, 6], [5, 10, 9, 18]]
    assert dataset.load_class_ids(0).tolist() == [1, 3]


def test_layers_hide_only_in_layered_images():
    square = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])
    objects = [Annotation("1", "car", polygons=[square]), Annotation("2", "car", polygons=[square + (2, 0)])]
    image = AnnotatedImage("a.jpg", None, None, size=(8, 10), objects=objects)
    assert [mask[0].tolist() for mask in visible_masks(image)] == [[1, 2, 4, 6], [1, 4, 4, 8]]
    image.layered = True
    assert [mask[0].tolist() for mask in visible_masks(image)] == [[1, 2, 4, 4], [1, 4, 4, 8]]


def test_flags_and_attributes_belong_to_bdd100k(tmp_path):
    """The same COCO file as BDD100K's has flags of objects and attributes of images, as one of its own has none."""
    folder(tmp_path, "coco", ("a",))
    document = coco_document(("a",)) | {"categories": [{"id": 5, "name": "car"}, {"id": 9, "name": "bus"}]}
    document["images"][0]["attributes"] = {"weather": "rainy"}
    document["annotations"][1]["attributes"] = {"occluded": True}
    write(tmp_path / "labels.json", document)
    street, own = BDD100KDataset(), open_folder(tmp_path)
    street.load_bdd100k(tmp_path)
    street.prepare()
    assert street.image_info[0]["attributes"] == {"weather": "rainy"} and "attributes" not in own.image_info[0]
    flags = street.object_flags(0, street.load_instances(0))
    assert {name: values.tolist() for name, values in flags.items()} == {
        "occluded": [False, True],
        "truncated": [False, False],
    }
    assert own.object_flags(0, own.load_instances(0)) == {}


def test_findings_of_several_files_are_joined(tmp_path):
    picture(tmp_path / "a.jpg")
    for name, category in (("s", "zebra"), ("t", "road")):
        frame = scalabel(rle={"size": [HEIGHT, WIDTH], "counts": [25, 2, 213]})[0]
        frame["labels"].append({"id": "2", "category": category})
        write(tmp_path / f"{name}.json", [frame, {"name": f"gone_{name}.jpg", "labels": []}])
    dataset = BDD100KDataset()
    for name in "st":
        dataset.load_bdd100k(tmp_path, labels=tmp_path / f"{name}.json")
    findings = dataset.findings
    assert findings.source == f"{tmp_path / 's.json'}, {tmp_path / 't.json'}"
    assert (findings.unknown, findings.stuff) == ({"zebra": 1}, {"road": 1})
    assert findings.images_of("missing image") == ["gone_s.jpg", "gone_t.jpg"]
    assert not findings.unusable()  # missing images and unknown names are summed up by count


def test_unusable_findings_leave_out_what_is_counted():
    findings = Findings("x")
    for kind in ("missing image", "image without labels", "unknown name", "size differs"):
        findings.add(kind, "why", "x.json", image="a.jpg")
    assert [finding.kind for finding in findings.unusable()] == ["unknown name", "size differs"]
    findings.unknown["zebra"] += 1
    assert [finding.kind for finding in findings.unusable()] == ["size differs"]


def test_a_finding_about_a_bitmask_names_its_png(tmp_path):
    picture(tmp_path / "a.jpg", 5, 5)
    (tmp_path / "bitmasks").mkdir()
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[1:4, 2:6] = (3, 0, 0, 1)
    Image.fromarray(pixels).save(tmp_path / "bitmasks/a.png")
    picture(tmp_path / "b.jpg")
    Image.fromarray(pixels).save(tmp_path / "bitmasks/b.png")
    dataset = BDD100KDataset()
    dataset.load_bdd100k(tmp_path, labels=tmp_path / "bitmasks")
    (finding,) = dataset.findings.entries
    assert (finding.kind, finding.file) == ("size differs", str(tmp_path / "bitmasks/a.png"))
