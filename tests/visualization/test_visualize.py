"""Drawing: pixels where they belong, nothing blocks or stays open, and every Matterport name has its signature."""

import inspect
import logging

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn import visualize
from mrcnn.errors import InputError
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.voc_ap import compute_ap
from mrcnn.structures.instances import Instances
from mrcnn.visualization import displays, drawing, plots, sheets
from tests.evaluation_scenes import NAMES, Noisy, Nothing, Scenes


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


@pytest.fixture
def image():
    return np.full((40, 60, 3), 100, np.uint8)


@pytest.fixture
def masks():
    masks = np.zeros((40, 60, 2), bool)
    masks[5:25, 10:30, 0], masks[20:38, 35:58, 1] = True, True
    return masks


BOXES = np.array([[5, 10, 25, 30], [20, 35, 38, 58]])


@pytest.mark.parametrize(
    "name,parameters",
    [
        ("display_images", "images titles cols cmap norm interpolation"),
        ("random_colors", "N bright"),
        ("apply_mask", "image mask color alpha"),
        (
            "display_instances",
            "image boxes masks class_ids class_names scores title figsize ax show_mask show_bbox colors captions",
        ),
        (
            "display_differences",
            "image gt_box gt_class_id gt_mask pred_box pred_class_id pred_score pred_mask class_names "
            "title ax show_mask show_box iou_threshold score_threshold",
        ),
        ("draw_rois", "image rois refined_rois mask class_ids class_names limit"),
        ("draw_box", "image box color"),
        ("display_top_masks", "image mask class_ids class_names limit"),
        ("plot_precision_recall", "AP precisions recalls"),
        ("plot_overlaps", "gt_class_ids pred_class_ids pred_scores overlaps class_names threshold"),
        ("draw_boxes", "image boxes refined_boxes masks captions visibilities title ax"),
        ("display_table", "table"),
        ("display_weight_stats", "model"),
    ],
)
def test_matterports_parameters_come_first(name, parameters):
    assert list(inspect.signature(getattr(visualize, name)).parameters)[: len(parameters.split())] == parameters.split()


def test_apply_mask_mixes_and_draws_in_place(image, masks):
    out = visualize.apply_mask(image, masks[..., 0], (1.0, 0.5, 0.0), alpha=0.5)
    assert out is image
    np.testing.assert_array_equal(image[10, 15], [177, 113, 50])  # (100 + 255) / 2, (100 + 127.5) / 2, 100 / 2
    assert np.all(image[~masks[..., 0]] == 100)


def test_apply_mask_takes_matterports_0_and_1_masks(image):
    mask = np.zeros((40, 60), np.int32)
    mask[3, 4] = 1
    assert visualize.apply_mask(image, mask, (0, 0, 1))[3, 4].tolist() == [50, 50, 177]
    assert np.count_nonzero(image != 100) == 3


def test_random_colors_are_distinct():
    colors = visualize.random_colors(12, bright=False)
    assert len(set(colors)) == 12 and max(max(c) for c in colors) == pytest.approx(0.7)
    assert visualize.random_colors(0) == []


def test_draw_box_frames_and_survives_the_border(image):
    out = visualize.draw_box(image, (5, 10, 25, 30), [1, 2, 3])
    for y, x in ((5, 12), (26, 12), (12, 10), (12, 31)):
        assert out[y, x].tolist() == [1, 2, 3]
    assert out[12, 20].tolist() == [100] * 3 and out[2, 12].tolist() == [100] * 3
    before = np.zeros((10, 10, 3), np.uint8)
    framed = visualize.draw_box(before, (-4, -4, 6, 6), [9, 9, 9])
    assert framed[6, 3, 0] == 9 and framed[9].sum() == 0  # nothing wraps to the other side


def test_class_colours_are_stable_and_distinct():
    colors = [drawing.class_color(c) for c in range(1, 31)]
    assert colors == [drawing.class_color(c) for c in range(1, 31)] and len(set(colors)) == 30


def test_draw_instances_tints_inside_only_and_keeps_the_image(image, masks):
    instances = Instances.from_masks(masks, [1, 2])
    before = image.copy()
    out = drawing.draw_instances(image, instances, boxes=False)
    changed = (out != 100).any(axis=-1)
    np.testing.assert_array_equal(changed, masks.any(axis=-1))
    red = np.array(drawing.class_color(1)) * 255
    np.testing.assert_allclose(out[15, 20], 0.55 * 100 + 0.45 * red, atol=1.5)
    np.testing.assert_array_equal(image, before)


def test_draw_instances_scaled_covers_the_scaled_mask(image, masks):
    out = drawing.draw_instances(image, Instances.from_masks(masks, [1, 2]), scale=2.0, boxes=False)
    expected = np.kron(masks.any(axis=-1), np.ones((2, 2), bool))
    np.testing.assert_array_equal((out != 100).any(axis=-1), expected)


def test_ignored_objects_are_gray_and_boxes_frame_them(image, masks):
    instances = Instances.from_masks(masks, [1, 2])
    instances.ignore[:] = True
    out = drawing.draw_instances(image, instances).astype(int)
    assert np.ptp(out, axis=-1).max() == 0
    assert out[5, 10, 0] == 170 and out[24, 29, 0] == 170  # the corners of the box


def test_captions_stand_above_and_tiny_objects_get_none():
    image = np.full((120, 200, 3), 100, np.uint8)
    masks = np.zeros((120, 200, 2), bool)
    masks[60:100, 20:60, 0], masks[60:66, 150:156, 1] = True, True
    plain = drawing.draw_instances(image, Instances.from_masks(masks, [1, 2]))
    named = drawing.draw_instances(image, Instances.from_masks(masks, [1, 2]), NAMES, np.array([0.5, 0.5]))
    y, x = np.nonzero((plain != named).any(axis=-1))
    assert y.max() <= 60 and y.min() > 35 and x.min() >= 20 and x.max() < 110


def test_objects_at_the_border_and_none_at_all(image):
    masks = np.ones((40, 60, 1), bool)
    assert drawing.draw_instances(image, Instances.from_masks(masks, [3]), NAMES, np.ones(1)).shape == image.shape
    nothing = Instances.from_masks(np.zeros((40, 60, 0), bool), [])
    np.testing.assert_array_equal(drawing.draw_instances(image, nothing, NAMES), image)


def test_display_instances_draws_masks_boxes_and_captions(image, masks):
    boxes = np.concatenate([BOXES, np.zeros((1, 4), int)])  # a padded row
    padded = np.concatenate([masks, np.zeros((40, 60, 1), bool)], axis=-1)
    axis = visualize.display_instances(
        image, boxes, padded, np.array([1, 2, 0]), NAMES, np.array([0.91, 0.5, 0]), title="street"
    )
    assert [t.get_text() for t in axis.texts] == ["car 0.910", "person 0.500"]
    assert [p.get_bbox().bounds for p in axis.patches] == [(9.5, 4.5, 20, 20), (34.5, 19.5, 23, 18)]
    shown = axis.images[0].get_array()
    np.testing.assert_array_equal((shown != 100).any(axis=-1), masks.any(axis=-1))
    assert axis.get_title() == "street" and (image == 100).all()


def test_display_instances_without_any_says_so(image, caplog):
    with caplog.at_level(logging.INFO, logger="mrcnn.visualization.displays"):
        visualize.display_instances(image, np.zeros((0, 4)), np.zeros((40, 60, 0)), np.zeros(0, int), NAMES)
    assert "No instances to display" in caplog.text


def test_display_differences_pairs_by_position(image, masks):
    # The weaker prediction comes first: Matterport's indices pointed into a copy sorted by score here.
    axis = visualize.display_differences(
        image,
        BOXES,
        np.array([1, 2]),
        masks,
        BOXES[[1, 0]],
        np.array([2, 3]),
        np.array([0.3, 0.9]),
        masks[..., [1, 0]],
        NAMES,
    )
    assert [t.get_text() for t in axis.texts] == ["missed car", "person 0.30 / 1.00", "train 0.90 / 1.00"]


def test_captions_of_neighbours_do_not_cover_each_other():
    street = np.zeros((100, 200, 3), np.uint8)
    boxes = np.array([[40, 60 + 4 * i, 60, 80 + 4 * i] for i in range(4)])
    axis = visualize.display_instances(street, boxes, None, np.ones(4, int), NAMES, figsize=(8, 4))
    axis.figure.canvas.draw()
    places = [text.get_window_extent() for text in axis.texts]
    assert len(places) == 4
    for i, place in enumerate(places):
        assert not any(place.overlaps(other) for other in places[:i])
        assert axis.get_window_extent().fully_containsx(place.x0)


def test_instances_have_the_colours_of_their_classes(masks):
    axis = visualize.display_instances(np.zeros((40, 60, 3)), BOXES, masks, np.array([2, 1]), NAMES)
    shown = axis.images[0].get_array()
    for inside, class_id in (((15, 20), 2), ((30, 45), 1)):
        expected = 0.45 * 255 * np.array(drawing.class_color(class_id))
        np.testing.assert_allclose(shown[inside], expected, atol=1)


def test_overlaps_mark_wrong_classes():
    axis = visualize.plot_overlaps(
        np.array([1, 2, 0]), np.array([1, 1]), np.array([0.9, 0.4]), np.array([[0.8, 0.0], [0.2, 0.7]]), NAMES
    )
    assert [t.get_text() for t in axis.texts] == ["0.80", "0.20", "0.70 wrong"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["car (0.90)", "car (0.40)"]


def test_precision_recall_area_is_the_ap(masks):
    ap, precisions, recalls, _ = compute_ap(
        BOXES,
        np.array([1, 2]),
        masks,
        BOXES[[1, 0, 0]],
        np.array([1, 1, 2]),
        np.array([0.9, 0.8, 0.7]),
        masks[..., [1, 0, 0]],
    )
    line = visualize.plot_precision_recall(ap, precisions, recalls).lines[0]
    assert line.get_drawstyle() == "steps-pre"
    assert np.sum(np.diff(line.get_xdata()) * line.get_ydata()[1:]) == pytest.approx(ap) and 0 < ap < 1


def test_draw_boxes_and_rois(image, masks):
    axis = visualize.draw_boxes(image, BOXES, BOXES + 1, masks, ["a", "b"], [0, 2], "boxes")
    assert len(axis.patches) == 3  # the refined box of an invisible one is left out
    assert [t.get_text() for t in axis.texts] == ["a", "b"]
    with pytest.raises(ValueError, match="boxes, refined_boxes or both"):
        visualize.draw_boxes(image)
    axis = visualize.draw_rois(image, BOXES, BOXES + 1, masks.transpose(2, 0, 1), np.array([0, 2]), NAMES)
    assert len(axis.patches) == 3 and [t.get_text() for t in axis.texts] == ["person"]
    assert "1 positive, 1 negative" in axis.get_title()


def test_draw_rois_puts_small_masks_over_their_rois(image):
    rois = np.array([[4, 10, 24, 40], [0, 0, 9, 9]])
    targets = np.zeros((2, 28, 28), np.float32)
    targets[:, 14:] = 1  # the lower half of each ROI
    axis = visualize.draw_rois(image, rois, rois, targets, np.array([1, 0]), NAMES)
    changed = (axis.images[0].get_array() != 100).any(axis=-1)
    expected = np.zeros((40, 60), bool)
    expected[14:24, 10:40] = True  # of the first; the second is background
    np.testing.assert_array_equal(changed, expected)


def test_display_top_masks_sorts_by_area(image, masks, monkeypatch):
    shown = []
    monkeypatch.setattr(displays, "display_images", lambda *args, **_: shown.append(args))
    visualize.display_top_masks(image, masks, np.array([2, 1]), NAMES, limit=3)
    pictures, titles = shown[0]
    assert titles == ["H x W = 40 x 60", "car", "person", "-"]  # 414 px before 400 px
    np.testing.assert_array_equal(pictures[1], masks[..., 1])


def test_display_images_of_every_kind(tmp_path, image, masks):
    kinds = [image, image[..., :1], image.astype(float), masks[..., 0], np.dstack([image, image[..., 0]])]
    visualize.display_images(kinds, list("abcde"), cols=2, save=tmp_path / "images.png")
    assert cv2.imread(str(tmp_path / "images.png")).std() > 10
    visualize.display_images([], save=tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()


def test_saving_closes_and_leaves_no_part(tmp_path, image, masks):
    visualize.display_instances(image, BOXES, masks, np.array([1, 2]), NAMES, save=tmp_path / "a.png")
    assert plt.get_fignums() == [] and [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_nothing_blocks_and_the_figure_stays_for_savefig(tmp_path, image, masks, monkeypatch, recwarn):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("show() was called without a display"))
    visualize.display_instances(image, BOXES, masks, np.array([1, 2]), NAMES)
    plt.savefig(tmp_path / "by_hand.png")
    assert cv2.imread(str(tmp_path / "by_hand.png")).std() > 10 and not recwarn.list


def test_given_axes_are_used_and_left_open(image, masks):
    figure, axis = plt.subplots()
    assert visualize.display_instances(image, BOXES, masks, np.array([1, 2]), NAMES, ax=axis) is axis
    assert plt.get_fignums() == [figure.number]


def test_display_table_escapes_and_weight_stats_mark_dead_kernels(caplog):
    assert visualize.display_table([["a<b", 1]]) == "<table><tr><td>a&lt;b</td><td>1</td></tr></table>"

    class Weight:
        path = "conv/kernel"

    class Layer:
        weights = [Weight()]

        def __init__(self, value):
            self.value = value

        def get_weights(self):
            return [self.value]

    class Model:
        layers = [Layer(np.zeros((2, 2))), Layer(np.array([[1.0, 3.0]]))]

    text = visualize.display_weight_stats(Model())
    assert text.count("conv/kernel *") == 1 and "+1.000000</td><td>+3.000000</td><td>+1.000000" in text


def test_pr_curves_show_every_class_in_its_colour_and_the_mean():
    scenes = Scenes(images=4)
    result = evaluate(Noisy(scenes), scenes)
    axis = plots.plot_pr_curves(result, scenes.class_names)
    labels = [line.get_label() for line in axis.lines]
    assert [label.split()[0] for label in labels] == ["car", "person", "mean"]
    for line, label in zip(axis.lines, labels, strict=True):
        assert np.mean(line.get_ydata()) == pytest.approx(float(label.split()[1]), abs=6e-4)
    assert axis.lines[0].get_color() != axis.lines[1].get_color()


def test_pr_curves_without_truth(tmp_path):
    scenes = Scenes(images=1)
    scenes.instances = [Instances.from_masks(np.zeros((*scenes.shape, 0), bool), [])]
    axis = plots.plot_pr_curves(evaluate(Nothing(), scenes), scenes.class_names)
    assert [t.get_text() for t in axis.texts] == ["no labelled object"]


def test_samples_sheet_ranks_worst_median_best(monkeypatch):
    scenes = Scenes(images=9, seed=4)
    result = evaluate(Noisy(scenes), scenes)
    titles = []
    monkeypatch.setattr(sheets, "contact_sheet", lambda rows, text, width: titles.extend(text) or np.zeros((9, 9, 3)))
    sheets.samples_sheet(result, scenes, count=3)
    ranked = sorted(result.image_ap50, key=lambda i: (result.image_ap50[i], i))
    n = len(ranked)
    for (left, right), kind, rank in zip(titles, ("worst", "median", "best"), (0, (n - 1) // 2, n - 1), strict=True):
        assert left.startswith(f"{kind} (rank {rank + 1} of {n}):  street-{ranked[rank]} ")
        assert right.startswith(f"AP50 {result.image_ap50[ranked[rank]]:.2f} ")


def test_samples_sheet_of_images_without_objects():
    scenes = Scenes(images=1)
    scenes.instances = [Instances.from_masks(np.zeros((*scenes.shape, 0), bool), [])]
    with pytest.raises(InputError, match="no evaluated image has an object"):
        sheets.samples_sheet(evaluate(Nothing(), scenes), scenes)


def test_contact_sheet_holds_its_pictures():
    red, blue = np.zeros((30, 40, 3), np.uint8), np.zeros((20, 80, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = sheets.contact_sheet([[red, blue], [blue]], [["red", "blue"], ["wide"]], cell_width=80)
    is_red = (sheet == [255, 0, 0]).all(axis=-1)
    is_blue = (sheet == [0, 0, 255]).all(axis=-1)
    assert is_red.sum() == 60 * 80 and is_blue.sum() == 2 * 20 * 80
    assert np.flatnonzero(is_red.any(axis=0))[0] == 8 and np.flatnonzero(is_blue.any(axis=0))[-1] == 8 + 80 + 8 + 79


def test_write_png_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    drawing.write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
