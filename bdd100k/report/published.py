"""Holds published figures that a report shows beside its own."""

PAPER_COLUMNS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
# Table 1 of Mask R-CNN (He et al., arXiv:1703.06870): instance segmentation on COCO test-dev, in per cent. Each line is
# model, backbone, then the columns; None where the paper has no figure.
PAPER: list[tuple[str, str, tuple[float | None, ...]]] = [
    ("MNC", "ResNet-101-C4", (24.6, 44.3, 24.8, 4.7, 25.9, 43.6)),
    ("FCIS + OHEM", "ResNet-101-C5-dilated", (29.2, 49.5, None, 7.1, 31.3, 50.0)),
    ("FCIS+++ + OHEM", "ResNet-101-C5-dilated", (33.6, 54.5, None, None, None, None)),
    ("Mask R-CNN", "ResNet-101-C4", (33.1, 54.9, 34.8, 12.1, 35.6, 51.1)),
    ("Mask R-CNN", "ResNet-101-FPN", (35.7, 58.0, 37.8, 15.5, 38.1, 52.4)),
    ("Mask R-CNN", "ResNeXt-101-FPN", (37.1, 60.0, 39.4, 16.9, 39.9, 53.5)),
]

# Mask R-CNN in BDD100K's model zoo (github.com/SysCV/bdd100k-models), by the bitmask protocol, in per cent: mask AP and
# box AP on the 1,000 images of val, mask AP on test.
ZOO: list[tuple[str, tuple[float, float, float]]] = [
    ("R-50-FPN, 1x", (16.24, 22.34, 14.86)),
    ("R-50-FPN, 3x, multi-scale", (19.88, 25.93, 17.46)),
    ("R-101-FPN, 3x, multi-scale", (20.51, 26.08, 17.88)),
]
