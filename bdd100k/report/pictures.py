"""Draws the pictures of the evaluation report: images as JPEG, with outlines and names over them as SVG.

Outlines are sharp at every size, and names can be larger on a small screen. The truth and the predictions of an image
share one JPEG, which keeps the report below 5 MB.
"""

import base64
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from markupsafe import Markup

from bdd100k.report.charts import escape
from mrcnn.evaluation.coco_results import class_of_category, image_key
from mrcnn.evaluation.curves import outcomes_at_50
from mrcnn.evaluation.results_file import entries_by_image
from mrcnn.evaluation.tide import KINDS, find_errors
from mrcnn.structures.rle import rle_to_crop
from mrcnn.visualization.drawing import class_color

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.evaluation.result import ImageFigures, Result


WIDTH = 1000  # width of a picture's SVG, in its units
_SCENE_PX, _SCENE_BYTES = 800, 90_000
_CROP_PX, _CROP_BYTES = 320, 22_000
_LETTERS = {"wide": 20, "small": 34}  # height of letters in these units, on wide and on small screens
_ERRORS_PER_IMAGE = 2  # of each kind in the gallery


@dataclasses.dataclass
class Shape:
    """An object or a detection in a picture.

    Attributes:
        class_id: Class id, from 1.
        box_px: (y1, x1, y2, x2).
        crop: bool [h, w], the mask in its box.
        caption: Text to draw if there is room.
        title: Text to show under the mouse pointer.
        style: Classes for the style sheet.
    """

    class_id: int
    box_px: Sequence[int]
    crop: np.ndarray
    caption: str
    title: str
    style: str


@dataclasses.dataclass
class Scene:
    """Two pictures of an image: one with its truth, one with its predictions.

    Attributes:
        row: The figures of the image.
        name: Name of the image.
        id: Id of the JPEG in the page, by which both pictures share it.
        jpeg: The image as a data URI.
        height: Height of the pictures, in data units of their SVG.
        truth, predictions: SVG content to draw over the image.
        truth_alt, predictions_alt: Text alternatives of the pictures.
    """

    row: "ImageFigures"
    name: str
    id: str
    jpeg: str
    height: int
    truth: Markup
    predictions: Markup
    truth_alt: str
    predictions_alt: str


@dataclasses.dataclass
class ErrorPicture:
    """The part of an image that shows an error.

    Attributes:
        jpeg: The part as a data URI.
        height: Height of the picture, in data units of its SVG.
        overlay: SVG content to draw over it.
        caption: Description of the error.
        image: Name of the image.
        alt: Text alternative of the picture.
    """

    jpeg: str
    height: int
    overlay: Markup
    caption: str
    image: str
    alt: str


class Pictures:
    """Draws the pictures of one evaluation."""

    def __init__(self, result: "Result", dataset: "Dataset", image_ids: Sequence[int], min_score: float) -> None:
        """Determine the outcome of every detection.

        Args:
            result: Result of `evaluate`.
            dataset: Dataset that was evaluated.
            image_ids: Ids of the evaluated images, in the order of evaluation.
            min_score: Minimum score of the predictions to draw.
        """
        self.dataset, self.image_ids, self.min_score = dataset, [int(i) for i in image_ids], min_score
        self._rows = result.per_image
        self._table = result.tables["mask"]
        self._outcomes = outcomes_at_50(self._table)
        self._errors = find_errors(self._table, self._outcomes)
        self._classes = class_of_category(dataset)
        self._first_dt = np.cumsum([0, *(row.detections for row in self._rows)])
        self._first_gt = np.searchsorted(self._table.gt_image, np.arange(len(self.image_ids)))
        strong = self._outcomes.score >= min_score
        self._found = np.zeros(len(self._table.gt_class), bool)
        self._found[self._outcomes.gt[self._outcomes.hit & strong]] = True
        self._entries_of = entries_by_image(result.predictions)

    def scene(self, position: int) -> Scene:
        """Draw the truth and the predictions of an image.

        Args:
            position: Position of the image among the evaluated ones.

        Raises:
            InputError: The image or the stored predictions cannot be read.
        """
        image = self._image(position)
        truth, predictions = self._truth(position), self._predictions(position)
        name = self.name(position)
        scale = WIDTH / image.shape[1]
        wrong = sum("wrong" in s.style for s in predictions)
        return Scene(
            row=self._rows[position],
            name=name,
            id=f"photo{position}",
            jpeg=_jpeg(image, _SCENE_PX, _SCENE_BYTES),
            height=round(image.shape[0] * scale),
            truth=_overlay(truth, scale, (0, 0)),
            predictions=_overlay(predictions, scale, (0, 0)),
            truth_alt=f"{name}, truth: {self._counted(truth)}",
            predictions_alt=f"{name}, predictions with a score of {self.min_score:.2f} or more: "
            f"{self._counted(predictions)}; {wrong} of them wrong",
        )

    def gallery(self, limit: int) -> dict[str, list[ErrorPicture]]:
        """Draw the worst errors of each kind: mistakes by their score, missed objects by their area.

        Args:
            limit: Maximum number of errors of each kind.

        Returns:
            Kind -> pictures of its errors.

        Raises:
            InputError: An image or the stored predictions cannot be read.
        """
        result = {}
        for kind in KINDS:
            if kind == "missed":
                order = np.flatnonzero(self._errors.missed)
                order = order[np.argsort(-self._table.gt_area[order], kind="stable")]
                images = self._table.gt_image
            else:
                order = np.flatnonzero(self._errors.kind == kind)
                order = order[np.argsort(-self._outcomes.score[order], kind="stable")]
                images = self._table.dt_image
            chosen: list[int] = []
            per_image: Counter[int] = Counter()
            for n in order.tolist():
                if len(chosen) < limit and per_image[images[n]] < _ERRORS_PER_IMAGE:
                    chosen.append(n)
                    per_image[images[n]] += 1
            result[kind] = [picture for n in chosen if (picture := self._error(kind, n)) is not None]
        return result

    def name(self, position: int) -> str:
        """Return the name of the image, or its source id if it has none."""
        info = self.dataset.image_info[self.image_ids[position]]
        return str(info.get("name") or info["id"])

    def _error(self, kind: str, n: int) -> ErrorPicture | None:
        """Draw one error; None if there is nothing to draw: an empty mask that belongs to no object."""
        table, names = self._table, self.dataset.class_names[1:]
        detection = None if kind == "missed" else n
        about = n if kind == "missed" else int(self._errors.about[n])
        position = int(table.gt_image[n] if kind == "missed" else table.dt_image[n])
        shapes = []
        if about >= 0:
            instances = self.dataset.load_instances(self.image_ids[position])
            local = about - self._first_gt[position]
            shapes.append(
                Shape(
                    int(instances.class_ids[local]),
                    instances.boxes_px[local].tolist(),
                    instances.crops[local],
                    "",
                    f"truth: {names[table.gt_class[about]]}",
                    "truth",
                )
            )
        if detection is not None and (shape := self._detection(position, detection)) is not None:
            shapes.append(dataclasses.replace(shape, caption="", style="found"))
        if not shapes:
            return None
        caption = self._describe(kind, detection, about)
        image = self._image(position)
        y1, x1, y2, x2 = _window(np.array([s.box_px for s in shapes]), image.shape)
        scale = WIDTH / (x2 - x1)
        part = np.ascontiguousarray(image[y1:y2, x1:x2])
        return ErrorPicture(
            jpeg=_jpeg(part, _CROP_PX, _CROP_BYTES, enlarge=True),
            height=round((y2 - y1) * scale),
            overlay=_overlay(shapes, scale, (y1, x1)),
            caption=caption,
            image=self.name(position),
            alt=f"Part of {self.name(position)}: {caption}",
        )

    def _describe(self, kind: str, detection: int | None, about: int) -> str:
        table, names = self._table, self.dataset.class_names[1:]
        thing = names[table.gt_class[about]] if about >= 0 else ""
        if detection is None:
            return f"{thing} of {round(table.gt_area[about]):,} px, not detected"
        claim = f"{names[table.dt_class[detection]]} {table.dt_score[detection]:.2f}"
        iou = f"IoU {self._errors.iou[detection]:.2f}"
        return {
            "class": f"{claim}, but it is a {thing} ({iou})",
            "place": f"{claim}, {iou} with the {thing}",
            "both": f"{claim}, {iou} with a {thing}",
            "background": f"{claim}, no object there",
            "duplicate": f"{claim}, already detected with a better score ({iou})",
        }[kind]

    def _truth(self, position: int) -> list[Shape]:
        instances = self.dataset.load_instances(self.image_ids[position])
        shapes = []
        for n in range(len(instances)):
            name = self.dataset.class_names[instances.class_ids[n]]
            ignored = bool(instances.crowd[n] or instances.ignore[n])
            found = self._found[self._first_gt[position] + n]
            state = "ignored" if ignored else "right" if found else "wrong"
            said = {"ignored": "crowd or ignored", "right": "detected", "wrong": "not detected"}[state]
            shapes.append(
                Shape(
                    int(instances.class_ids[n]),
                    instances.boxes_px[n].tolist(),
                    instances.crops[n],
                    name,
                    f"{name}: {said}",
                    state,
                )
            )
        return shapes

    def _predictions(self, position: int) -> list[Shape]:
        first, last = np.searchsorted(self._table.dt_image, [position, position + 1])
        chosen = [n for n in range(first, last) if self._outcomes.score[n] >= self.min_score]
        chosen.sort(key=lambda n: self._outcomes.score[n])  # the best on top
        return [shape for n in chosen if (shape := self._detection(position, n)) is not None]

    def _detection(self, position: int, n: int) -> Shape | None:
        """Return a detection of the table as a shape, or None if its mask is empty."""
        entry = self._entries_of(image_key(self.dataset, self.image_ids[position]))[
            int(self._table.dt_key[n] - self._first_dt[position])
        ]
        decoded = rle_to_crop(entry["segmentation"])
        if decoded is None:
            return None
        caption = f"{self.dataset.class_names[self._classes[entry['category_id']]]} {entry['score']:.2f}"
        kind = self._errors.kind[n]
        state = "wrong" if kind else "right" if self._outcomes.hit[n] else "ignored"
        about = int(self._errors.about[n])
        said = {"right": "right", "ignored": "on an ignored object"}.get(
            state, self._describe(kind, n, about).removeprefix(f"{caption}, ") if kind else ""
        )
        box_px, crop = decoded
        return Shape(self._classes[entry["category_id"]], box_px.tolist(), crop, caption, f"{caption}: {said}", state)

    def _image(self, position: int) -> np.ndarray:
        return np.ascontiguousarray(self.dataset.load_image(self.image_ids[position])[..., :3])

    def _counted(self, shapes: list[Shape]) -> str:
        counts = Counter(self.dataset.class_names[s.class_id] for s in shapes)
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"


def _jpeg(image: np.ndarray, width: int, max_bytes: int, enlarge: bool = False) -> str:
    """Encode an RGB image as a data URI, at most `width` px wide, lowering the quality until it fits `max_bytes`."""
    scale = width / image.shape[1]
    if scale < 1 or enlarge:
        size = (width, max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for quality in (82, 70, 55, 40, 25, 10):
        data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(data) <= max_bytes:
            break
    return Markup("data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii"))


def _window(boxes: np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (y1, x1, y2, x2) px of a 4:3 part of the image that shows the boxes with some of their surroundings."""
    y1, x1 = boxes[:, :2].min(axis=0)
    y2, x2 = boxes[:, 2:].max(axis=0)
    height = max(1.5 * (y2 - y1), 1.5 * (x2 - x1) * 3 / 4, 48)
    width = min(height * 4 / 3, shape[1])
    height = min(height, shape[0])
    top = int(np.clip((y1 + y2 - height) / 2, 0, shape[0] - height))
    left = int(np.clip((x1 + x2 - width) / 2, 0, shape[1] - width))
    return top, left, top + max(1, int(height)), left + max(1, int(width))


def _overlay(shapes: Sequence[Shape], scale: float, origin: Sequence[int]) -> Markup:
    """Return outlines, then captions, as the content of an SVG."""
    parts = []
    for shape in shapes:
        colour = "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in class_color(shape.class_id)))
        parts.append(
            f'<path class="{shape.style}" style="--k:{colour}" d="{_outline(shape, scale, origin)}">'
            f"<title>{escape(shape.title)}</title></path>"
        )
    return Markup("".join(parts + _captions(shapes, scale, origin)))


def _outline(shape: Shape, scale: float, origin: Sequence[int]) -> str:
    """Return the outline of a shape as an SVG path in whole units, including holes."""
    # Outlines run through the centres of pixels, which would make an object a pixel smaller; hence twice the size.
    mask = np.pad(shape.crop.astype(np.uint8), 1).repeat(2, axis=0).repeat(2, axis=1)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    offset = np.array([shape.box_px[1] - 1 - origin[1], shape.box_px[0] - 1 - origin[0]])
    path = []
    for outline in outlines:
        points = cv2.approxPolyDP(outline, max(1.2, 1.4 / scale), True)[:, 0]
        points = np.round(((points + 0.5) / 2 + offset) * scale).astype(int).tolist()
        path.append("M" + "L".join(f"{x} {y}" for x, y in points) + "z")
    return "".join(path)


def _captions(shapes: Sequence[Shape], scale: float, origin: Sequence[int]) -> list[str]:
    """Return captions at the upper edges of the shapes, the largest first, without those that would cover another."""
    parts = []
    for size, letters in _LETTERS.items():
        taken: list[tuple[float, float, float, float]] = []
        for shape in sorted(shapes, key=lambda s: -s.crop.size):
            if not shape.caption or shape.style == "ignored":
                continue
            width = 0.63 * letters * len(shape.caption)
            x = min(max((shape.box_px[1] - origin[1]) * scale, 2), WIDTH - width - 2)
            y = max((shape.box_px[0] - origin[0]) * scale - 4, letters)
            box = (x, y - letters, x + width, y + 3)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(f'<text class="{size}" x="{round(x)}" y="{round(y)}">{escape(shape.caption)}</text>')
    return parts


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
