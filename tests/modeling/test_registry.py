"""The registry of published weights, and the table that `python -m tests.modeling.test_registry` makes of it."""

import pathlib
import re

from mrcnn.modeling.registry import REGISTRY, Published, as_markdown

PAGE = pathlib.Path(__file__).parents[2] / "weights" / "README.md"
TABLE = re.compile(r"(<!-- the table: [^>]* -->\n\n?)(.*?)(\n?<!-- end of the table -->)", re.DOTALL)


def page() -> str:
    """Return the page with the present table."""
    return TABLE.sub(
        lambda found: f"{found[1].rstrip()}\n\n{as_markdown()}\n<!-- end of the table -->", PAGE.read_text()
    )


def test_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run python -m tests.modeling.test_registry"


def test_names_are_those_that_are_promised():
    promised = {
        *("coco", "imagenet", "imagenet-resnet101", "streets"),
        *(
            "coco-r50",
            "coco-r50-v2",
            "coco-r50-d2",
            "coco-r101-d2",
            "coco-x101-d2",
            "coco-r50-c4-d2",
            "coco-r101-c4-d2",
        ),
        *("coco-r50-dc5-d2", "coco-r101-dc5-d2", "coco-r50-lsj-d2", "coco-r101-lsj-d2", "coco-r50-mmdet"),
        *("cityscapes-r50-d2", "cityscapes-r50-mmdet", "bdd100k-r50", "bdd100k-r101"),
    }
    assert promised <= set(REGISTRY)
    files = [entry.file_name for entry in REGISTRY.values()]
    assert len(set(files)) == len(files), "two entries have one file name"


def test_addresses_and_digits():
    places = {
        "coco-r50": ("https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "bf2d0c1e", None),
        "coco-r50-d2": (
            "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/"
            "model_final_f10217.pkl",
            None,
            "f10217",
        ),
        "coco-r50-lsj-d2": (
            "https://dl.fbaipublicfiles.com/detectron2/new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ/42019571/"
            "model_final_14d201.pkl",
            None,
            "14d201",
        ),
        "cityscapes-r50-d2": (
            "https://dl.fbaipublicfiles.com/detectron2/Cityscapes/mask_rcnn_R_50_FPN/142423278/model_final_af9cf5.pkl",
            None,
            "af9cf5",
        ),
        "cityscapes-r50-mmdet": (
            "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/cityscapes/mask_rcnn_r50_fpn_1x_cityscapes/"
            "mask_rcnn_r50_fpn_1x_cityscapes_20201211_133733-d2858245.pth",
            "d2858245",
            None,
        ),
        "bdd100k-r50": (
            "https://dl.cv.ethz.ch/bdd100k/ins_seg/models/mask_rcnn_r50_fpn_3x_ins_seg_bdd100k.pth",
            None,
            None,
        ),
        "imagenet-resnext101-32x8d": (
            "https://download.pytorch.org/models/resnext101_32x8d-8ba56ff5.pth",
            "8ba56ff5",
            None,
        ),
    }
    for name, (url, sha256, md5) in places.items():
        entry = REGISTRY[name]
        assert (entry.url, entry.sha256_prefix, entry.md5_prefix) == (url, sha256, md5)
        assert url.endswith("/" + entry.file_name)


def test_licences_and_terms():
    families = {"torchvision": "BSD-3-Clause", "detectron2": "CC BY-SA 3.0", "mmdet": "Apache-2.0"}
    for entry in REGISTRY.values():
        assert entry.licence == families.get(entry.family, entry.licence)
        assert ("Cityscapes" in entry.terms) == entry.name.startswith("cityscapes")
        assert ("BDD100K" in entry.terms) == entry.name.startswith("bdd100k")
    assert REGISTRY["bdd100k-r101"].results == "BDD100K val: box AP 26.08, mask AP 20.51"
    assert REGISTRY["cityscapes-r50-d2"].results == "Cityscapes val: mask AP 36.5"


def test_what_can_be_checked():
    assert Published("n", "n.pth", "x").checks == ""
    assert Published("n", "n.pth", "x", size=3, md5="ab").checks == "length, md5 ab"
    assert REGISTRY["coco-r50"].checks == "first digits of sha256 bf2d0c1e"


if __name__ == "__main__":
    PAGE.write_text(page())
