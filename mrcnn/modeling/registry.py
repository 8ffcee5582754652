"""List the published weight files that can be fetched by name, with their licences and results."""

import dataclasses

COCO, IMAGENET = "COCO val2017", "ImageNet"
TORCHVISION_URL = "https://download.pytorch.org/models/"
DETECTRON2_URL = "https://dl.fbaipublicfiles.com/detectron2/"
MMDET_URL = "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/"
SYSCV_URL = "https://dl.cv.ethz.ch/bdd100k/ins_seg/models/"
BSD, APACHE, CC, MIT = "BSD-3-Clause", "Apache-2.0", "CC BY-SA 3.0", "MIT"
CITYSCAPES_TERMS = "trained on Cityscapes, whose terms allow non-commercial use only"
BDD100K_TERMS = "trained on BDD100K, whose licence of the data applies; the licence given is that of the repository"


@dataclasses.dataclass(frozen=True)
class Published:
    """A weight file that can be fetched by name.

    Attributes:
        name: what the user asks for.
        file_name: name of the file in the folder of weights.
        url: where to download it; None for a file that comes with the source tree.
        size: bytes; None, as for the hashes, if it was never published and so is not checked.
        sha256: hash in hexadecimal digits, or None.
        md5: hash in hexadecimal digits, or None.
        note: what the file contains.
        sha256_prefix: first digits of the hash, where no more was published; or None.
        md5_prefix: first digits of the hash, where no more was published; or None.
        licence: of the weights; None if nothing is known of it.
        terms: what the data that it was trained on adds to the licence.
        results: protocol and AP, as published: "COCO val2017: box AP 37.9, mask AP 34.6".
        family: whose layers it has: "matterport", "keras", "torchvision", "detectron2" or "mmdet".
    """

    name: str
    file_name: str
    url: str | None
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    note: str = ""
    sha256_prefix: str | None = None
    md5_prefix: str | None = None
    licence: str | None = None
    terms: str = ""
    results: str = ""
    family: str = "matterport"

    @property
    def checks(self) -> str:
        """Return what can be verified: "length, sha256 80f5", "first digits of sha256 bf2d0c1e"; "" for nothing."""
        parts = ["length"] if self.size is not None else []
        parts += [f"{name} {value}" for name, value in (("sha256", self.sha256), ("md5", self.md5)) if value]
        prefixes = (("sha256", self.sha256_prefix), ("md5", self.md5_prefix))
        return ", ".join(parts + [f"first digits of {name} {value}" for name, value in prefixes if value])


def _ap(protocol: str, box: float | None, mask: float) -> str:
    return f"{protocol}: {'' if box is None else f'box AP {box}, '}mask AP {mask}"


def _torchvision(name: str, file_name: str, note: str, results: str = "") -> Published:
    """Return an entry; the file name ends with the first eight digits of the SHA-256."""
    return Published(
        name,
        file_name,
        TORCHVISION_URL + file_name,
        note=note,
        sha256_prefix=file_name.removesuffix(".pth")[-8:],
        licence=BSD,
        results=results,
        family="torchvision",
    )


def _detectron2(name: str, config: str, place: str, note: str, results: str, terms: str = "") -> Published:
    """Return an entry; `place` is the number of the run and the first six digits of the MD5."""
    number, digits = place.split("/")
    file_name = f"model_final_{digits}.pkl"
    return Published(
        name,
        file_name,
        f"{DETECTRON2_URL}{config}/{number}/{file_name}",
        note=note,
        md5_prefix=digits,
        licence=CC,
        terms=terms,
        results=results,
        family="detectron2",
    )


def _mmdet(name: str, folder: str, ending: str, note: str, results: str, terms: str = "") -> Published:
    """Return an entry; the file name ends with the first eight digits of the SHA-256."""
    file_name = f"{folder.rpartition('/')[2]}_{ending}.pth"
    return Published(
        name,
        file_name,
        f"{MMDET_URL}{folder}/{file_name}",
        note=note,
        sha256_prefix=ending[-8:],
        licence=APACHE,
        terms=terms,
        results=results,
        family="mmdet",
    )


def _syscv(name: str, model: str, note: str, box: float, mask: float) -> Published:
    file_name = f"mask_rcnn_{model}_ins_seg_bdd100k.pth"
    return Published(
        name,
        file_name,
        SYSCV_URL + file_name,
        note=f"Mask R-CNN, {note}, 8 BDD100K classes, by SysCV",
        licence=APACHE,
        terms=BDD100K_TERMS,
        results=_ap("BDD100K val", box, mask),
        family="mmdet",
    )


OWN = (
    Published(
        name="coco",
        file_name="mask_rcnn_coco.h5",
        url="https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        size=257_557_808,  # Matterport published no hash, so only the size and the HDF5 signature are checked
        note="Mask R-CNN, ResNet-101 FPN, 81 COCO classes, by Matterport",
        licence=MIT,
    ),
    Published(
        name="imagenet",
        file_name="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        url="https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size=94_653_016,
        md5="a268eb855778b3df3c7506639542a6af",  # as keras.applications passed it to get_file
        note="ResNet-50 without its classifier, ImageNet, by Keras",
        family="keras",
    ),
    Published(
        name="imagenet-resnet101",
        file_name="resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        url="https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="88cf7a10940856eca736dc7b7e228a21",  # as keras.applications passes it to get_file
        note="ResNet-101 without its classifier, ImageNet, by Keras; `--weights imagenet` gives it Matterport's layer "
        "names in `resnet101_imagenet.h5`",
        family="keras",
    ),
    Published(
        name="streets",
        file_name="streets_resnet18.h5",
        url=None,
        size=8_437_368,
        sha256="80f53e25a04546dc1ba27abba79461175a71923b2dc214ccdd015d32ea85011a",
        note="Mask R-CNN, ResNet-18 FPN of half width, 9 classes, trained on the drawn street scenes of "
        "bdd100k.streets.scenes; half precision",
        licence=MIT,
        results="400 drawn scenes: mask AP 14.3",
    ),
)
TORCHVISION = (
    _torchvision(
        "coco-r50", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "Mask R-CNN, ResNet-50 FPN, COCO", _ap(COCO, 37.9, 34.6)
    ),
    _torchvision(
        "coco-r50-v2",
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        "Mask R-CNN, ResNet-50 FPN with norms and four convolutions in the box head, COCO",
        _ap(COCO, 47.4, 41.8),
    ),
)
BACKBONES = tuple(
    _torchvision(f"imagenet-{model.replace('_', '-')}{version}", f"{model}-{digits}.pth", f"{model}, {IMAGENET}")
    for model, version, digits in (
        ("resnet18", "", "f37072fd"),
        ("resnet34", "", "b627a593"),
        ("resnet50", "-v1", "0676ba61"),
        ("resnet50", "-v2", "11ad3fa6"),
        ("resnet101", "-v1", "63fe2227"),
        ("resnet152", "", "394f9c45"),
        ("resnext50_32x4d", "", "7cdf4587"),
        ("resnext101_32x8d", "", "8ba56ff5"),
        ("wide_resnet50_2", "", "95faca4d"),
        ("wide_resnet101_2", "", "32ee1156"),
        ("convnext_tiny", "", "983f1562"),
    )
)
DETECTRON2 = tuple(
    _detectron2(
        f"coco-{name}-d2",
        f"{'new_baselines' if 'LSJ' in config else 'COCO-InstanceSegmentation'}/mask_rcnn_{config}",
        place,
        f"Mask R-CNN, {config.replace('_', ' ')}, COCO",
        _ap(COCO, box, mask),
    )
    for name, config, place, box, mask in (
        ("r50", "R_50_FPN_3x", "137849600/f10217", 41.0, 37.2),
        ("r101", "R_101_FPN_3x", "138205316/a3ec72", 42.9, 38.6),
        ("x101", "X_101_32x8d_FPN_3x", "139653917/2d9806", 44.3, 39.5),
        ("r50-c4", "R_50_C4_3x", "137849525/4ce675", 39.8, 34.4),
        ("r101-c4", "R_101_C4_3x", "138363239/a2914c", 42.6, 36.7),
        ("r50-dc5", "R_50_DC5_3x", "137849551/84107b", 40.0, 35.9),
        ("r101-dc5", "R_101_DC5_3x", "138363294/0464b7", 41.9, 37.3),
        ("r50-lsj", "R_50_FPN_400ep_LSJ", "42019571/14d201", 47.4, 42.5),
        ("r101-lsj", "R_101_FPN_400ep_LSJ", "42073830/f96b26", 48.9, 43.7),
        ("r50-1x", "R_50_FPN_1x", "137260431/a54504", 38.6, 35.2),
        ("r50-c4-1x", "R_50_C4_1x", "137259246/9243eb", 36.8, 32.2),
        ("r50-dc5-1x", "R_50_DC5_1x", "137260150/4f86c3", 38.3, 34.2),
        ("r50-lsj100", "R_50_FPN_100ep_LSJ", "42047764/bb69de", 44.6, 40.3),
        ("r50-lsj200", "R_50_FPN_200ep_LSJ", "42047638/89a8d3", 46.3, 41.7),
        ("r101-lsj100", "R_101_FPN_100ep_LSJ", "42025812/4f7b58", 46.4, 41.6),
        ("r101-lsj200", "R_101_FPN_200ep_LSJ", "42131867/0bb7ae", 48.0, 43.1),
    )
)
MMDET = tuple(
    _mmdet(
        f"coco-{name}-mmdet",
        f"mask_rcnn_{config}_coco",
        ending,
        f"Mask R-CNN, {config.replace('_', ' ')}, COCO",
        _ap(COCO, box, mask),
    )
    for name, config, ending, box, mask in (
        ("r50", "r50_fpn_mstrain-poly_3x", "20210524_201154-21b550bb", 40.9, 37.1),
        ("r50-1x", "r50_fpn_1x", "20200205-d4b0c5d6", 38.2, 34.7),
        ("r50-2x", "r50_fpn_2x", "bbox_mAP-0.392__segm_mAP-0.354_20200505_003907-3e542a40", 39.2, 35.4),
        (
            "r50-caffe-1x",
            "r50_caffe_fpn_1x",
            "bbox_mAP-0.38__segm_mAP-0.344_20200504_231812-0ebd1859",
            38.0,
            34.4,
        ),
        ("r101", "r101_fpn_mstrain-poly_3x", "20210524_200244-5675c317", 42.7, 38.5),
        ("r101-1x", "r101_fpn_1x", "20200204-1efe0ed5", 40.0, 36.1),
        ("r101-2x", "r101_fpn_2x", "bbox_mAP-0.408__segm_mAP-0.366_20200505_071027-14b391c7", 40.8, 36.6),
        ("r101-caffe", "r101_caffe_fpn_mstrain-poly_3x", "20210526_132339-3c33ce02", 42.9, 38.5),
        ("x101-32x4d", "x101_32x4d_fpn_mstrain-poly_3x", "20210524_201410-abcd7859", 43.6, 39.0),
        ("x101-32x4d-1x", "x101_32x4d_fpn_1x", "20200205-478d0b67", 41.9, 37.5),
        ("x101-32x4d-2x", "x101_32x4d_fpn_2x", "bbox_mAP-0.422__segm_mAP-0.378_20200506_004702-faef898c", 42.2, 37.8),
        ("x101-64x4d-1x", "x101_64x4d_fpn_1x", "20200201-9352eb0d", 42.8, 38.4),
    )
)
STREETS = (
    _syscv("bdd100k-r50", "r50_fpn_3x", "ResNet-50 FPN, 3x", 25.93, 19.88),
    _syscv("bdd100k-r101", "r101_fpn_3x", "ResNet-101 FPN, 3x", 26.08, 20.51),
    _syscv("bdd100k-r50-1x", "r50_fpn_1x", "ResNet-50 FPN, 1x", 22.34, 16.24),
    _detectron2(
        "cityscapes-r50-d2",
        "Cityscapes/mask_rcnn_R_50_FPN",
        "142423278/af9cf5",
        "Mask R-CNN, R 50 FPN, 8 Cityscapes classes",
        _ap("Cityscapes val", None, 36.5),
        CITYSCAPES_TERMS,
    ),
    _mmdet(
        "cityscapes-r50-mmdet",
        "cityscapes/mask_rcnn_r50_fpn_1x_cityscapes",
        "20201211_133733-d2858245",
        "Mask R-CNN, r50 fpn 1x, 8 Cityscapes classes",
        _ap("Cityscapes val", 40.9, 36.4),
        CITYSCAPES_TERMS,
    ),
)
REGISTRY = {entry.name: entry for entry in (*OWN, *STREETS, *TORCHVISION, *DETECTRON2, *MMDET, *BACKBONES)}


def as_markdown() -> str:
    """Return the table of weights/README.md."""
    lines = ["| name | file | content and results | licence, terms | check |", "|---|---|---|---|---|"]
    for entry in REGISTRY.values():
        file = f"{entry.file_name}, in this folder" if entry.url is None else f"[{entry.file_name}]({entry.url})"
        size = "" if entry.size is None else f", {entry.size:,} bytes"
        content = "; ".join(filter(None, (entry.note, entry.results)))
        licence = "; ".join(filter(None, (entry.licence or "not stated", entry.terms)))
        lines.append(f"| `{entry.name}` | {file}{size} | {content} | {licence} | {entry.checks or 'none published'} |")
    return "\n".join(lines) + "\n"
