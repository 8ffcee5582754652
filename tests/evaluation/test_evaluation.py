"""Compares evaluate() with COCOeval and compute_ap on full masks, and files with models; tests edge cases."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.evaluation.coco_results import predict_images
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.voc_ap import compute_ap, compute_matches, compute_recall
from mrcnn.files import write_json
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import unmold_mask
from tests.evaluation_scenes import SHAPE, Noisy, Nothing, Scenes

STATS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L")


@pytest.fixture(scope="module")
def scenes():
    # One image without any object, one with crowds only.
    scenes = Scenes(images=8, seed=3)
    scenes.instances[2] = Instances.from_masks(np.zeros((*SHAPE, 0), bool), [])
    scenes.instances[5].crowd[:] = True
    return scenes


@pytest.fixture(scope="module")
def result(scenes):
    return evaluate(Noisy(scenes), scenes, batch_size=3)


def full_masks(scenes):
    """Return the detections of each image: boxes, class ids, scores and masks [H, W, n] pasted at full size."""
    found = Noisy(scenes).detect_instances([scenes.load_image(i) for i in scenes.image_ids])
    for image in found:
        masks = [
            unmold_mask(p, b, (*SHAPE, 3)) if (b[2:] > b[:2]).all() else np.zeros(SHAPE, bool)
            for p, b in zip(image["mask_probs"], image["rois"], strict=True)
        ]
        image["masks"] = np.stack(masks, axis=-1).astype(bool)
        kept = (image["rois"][:, 2:] > image["rois"][:, :2]).all(axis=1)
        for name in ("rois", "class_ids", "scores"):
            image[name] = image[name][kept]
        image["masks"] = image["masks"][..., kept]
    return found


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def xywh(box):
    y1, x1, y2, x2 = (float(v) for v in box)
    return [x1, y1, x2 - x1, y2 - y1]


def coco_stats(scenes, kind, class_id=None):
    """Compute the twelve figures with pycocotools alone, from full masks."""
    images = [{"id": 7 + int(i), "height": SHAPE[0], "width": SHAPE[1]} for i in scenes.image_ids]
    truth, found = [], []
    for i, image in enumerate(full_masks(scenes)):
        instances = scenes.load_instances(i)
        masks = instances.to_masks(SHAPE)
        for n in range(len(instances)):
            truth.append(
                {
                    "image_id": 7 + i,
                    "category_id": int(instances.class_ids[n]),
                    "id": len(truth) + 1,
                    "segmentation": encode(masks[..., n]),
                    "bbox": xywh(instances.boxes_px[n]),
                    "area": int(masks[..., n].sum()),
                    "iscrowd": int(instances.crowd[n] | instances.ignore[n]),
                }
            )
        for n in range(len(image["rois"])):
            area = (
                int(image["masks"][..., n].sum())
                if kind == "segm"
                else int(np.prod(np.diff(image["rois"][n].reshape(2, 2), axis=0)))
            )
            found.append(
                {
                    "image_id": 7 + i,
                    "category_id": int(image["class_ids"][n]),
                    "id": len(found) + 1,
                    "score": float(image["scores"][n]),
                    "segmentation": encode(image["masks"][..., n]),
                    "bbox": xywh(image["rois"][n]),
                    "area": area,
                    "iscrowd": 0,
                }
            )
    sides = []
    for annotations in (truth, found):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": c} for c in (1, 2, 3)]}
        sides.append(coco)
    with contextlib.redirect_stdout(io.StringIO()):
        for coco in sides:
            coco.createIndex()
        evaluator = COCOeval(*sides, kind)
        if class_id:
            evaluator.params.catIds = [class_id]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return {name: None if value == -1 else value for name, value in zip(STATS, evaluator.stats, strict=True)}


def assert_same_figures(figures, expected):
    ours = vars(figures)
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name] == (None if value is None else pytest.approx(value, abs=1e-9)), name


@pytest.mark.parametrize("name,kind", [("mask", "segm"), ("box", "bbox")])
def test_figures_are_those_of_pycocotools(scenes, result, name, kind):
    expected = coco_stats(scenes, kind)
    assert 0 < expected["AP"] < expected["AP50"] < 1  # the scene is informative
    assert_same_figures(getattr(result, name), expected)


@pytest.mark.parametrize("class_id,name", [(1, "car"), (2, "person"), (3, "train")])
def test_figures_per_class_are_those_of_pycocotools(scenes, result, class_id, name):
    assert_same_figures(result.per_class[name].mask, coco_stats(scenes, "segm", class_id))
    assert_same_figures(result.per_class[name].box, coco_stats(scenes, "bbox", class_id))


def test_map50_is_the_mean_of_compute_ap_over_images_with_objects(scenes, result):
    aps = {}
    for i, found in enumerate(full_masks(scenes)):
        instances = scenes.load_instances(i)
        real = np.flatnonzero(~instances.crowd & ~instances.ignore)
        if len(real):
            aps[i] = compute_ap(
                instances.boxes_px[real],
                instances.class_ids[real],
                instances.to_masks(SHAPE)[..., real],
                found["rois"],
                found["class_ids"],
                found["scores"],
                found["masks"],
            )[0]
    assert 2 not in aps and 5 not in aps
    assert result.image_ap50 == pytest.approx(aps, abs=1e-9)
    assert result.matterport.mAP50 == pytest.approx(np.mean(list(aps.values())), abs=1e-9)


def test_counts(scenes, result):
    flagged = [i.crowd | i.ignore for i in scenes.instances]
    assert result.images == 8
    assert result.ignored == sum(f.sum() for f in flagged)
    assert result.objects == sum((~f).sum() for f in flagged)
    assert result.detections == len(result.predictions) == sum(c.detections for c in result.per_class.values())
    assert result.objects == sum(c.objects for c in result.per_class.values())
    assert result.per_class["person"].category_id == 20


def test_file_gives_the_very_same_figures(scenes, result, tmp_path):
    write_json(tmp_path / "predictions.json", result.predictions)
    again = evaluate(tmp_path / "predictions.json", scenes)
    assert again == result
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.json"]


@pytest.mark.parametrize("name", ["file name", "stem", "source id"])
def test_images_may_be_named(scenes, result, name):
    as_named = {"file name": "street-{}.jpg", "stem": "street-{}", "source id": "street-{}"}[name]
    entries = [{**e, "image_id": as_named.format(e["image_id"] - 100)} for e in result.predictions]
    assert evaluate(entries, scenes).to_json() == result.to_json()


def test_uncompressed_rle_and_missing_boxes(scenes, result):
    entries = []
    for entry in result.predictions:
        mask = coco_mask.decode(entry["segmentation"])
        flat = mask.T.reshape(-1)
        changes = np.flatnonzero(np.diff(flat, prepend=0))
        runs = np.diff(np.concatenate([[0], changes, [flat.size]]))
        entries.append({**entry, "segmentation": {"size": list(SHAPE), "counts": runs.tolist()}, "bbox": None})
    again = evaluate(entries, scenes)
    assert again.mask == result.mask and again.matterport == result.matterport
    first = next(i for i, e in enumerate(result.predictions) if coco_mask.area(e["segmentation"]))
    assert again.predictions[first]["bbox"] == coco_mask.toBbox(result.predictions[first]["segmentation"]).tolist()


def test_polygons(scenes):
    scenes = Scenes(images=1, seed=0)
    mask = np.zeros((*SHAPE, 1), bool)
    mask[20:60, 30:90] = True
    scenes.instances = [Instances.from_masks(mask, [1])]
    square = [30, 20, 90, 20, 90, 60, 30, 60]
    result = evaluate([{"image_id": 100, "category_id": 10, "score": 1, "segmentation": [square]}], scenes)
    assert result.mask.AP == result.box.AP == pytest.approx(1) and result.matterport.mAP50 == 1


def test_subset_leaves_predictions_for_other_images_out(scenes, result):
    subset = [0, 3, 4]
    alone = evaluate([e for e in result.predictions if e["image_id"] - 100 in subset], scenes, image_ids=subset)
    assert evaluate(result.predictions, scenes, image_ids=subset).to_json() == alone.to_json()
    assert alone.images == 3 and set(alone.image_ap50) <= set(subset)


def test_no_detections_give_zero(scenes):
    result = evaluate(Nothing(), scenes)
    assert result.mask.AP == result.box.AP50 == result.mask.AR100 == result.matterport.mAP50 == 0
    assert result.per_class["train"].mask.AP is None  # no such object
    assert result.per_class["car"].mask.AP == 0 and result.detections == 0
    assert set(result.pr_curve.precision["car"]) == {0.0}


@pytest.mark.parametrize("model", [Nothing(), Noisy(Scenes(images=2))])
def test_no_truth_gives_null_not_nan(model):
    scenes = Scenes(images=2)
    scenes.instances = [Instances.from_masks(np.zeros((*SHAPE, 0), bool), [])] * 2
    result = evaluate(model, scenes)
    assert (
        set(vars(result.mask).values()) == set(vars(result.box).values()) == {None} and result.matterport.mAP50 is None
    )
    assert result.pr_curve.precision == {} and result.pr_curve.mean == []
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()


def test_perfect_predictions_score_one_and_crowds_count_neither_way(scenes):
    entries = []
    for i in scenes.image_ids:
        instances = scenes.load_instances(i)
        masks = instances.to_masks(SHAPE)
        for n in range(len(instances)):
            rle = encode(masks[..., n])
            entries.append(
                {
                    "image_id": f"street-{i}",
                    "category_id": 10 * int(instances.class_ids[n]),
                    "score": 0.9,
                    "segmentation": {"size": list(SHAPE), "counts": rle["counts"].decode()},
                    "bbox": xywh(instances.boxes_px[n]),
                }
            )
    result = evaluate(entries, scenes)
    assert result.ignored > 0
    assert result.mask.AP == result.box.AP == result.mask.AR100 == pytest.approx(1)
    np.testing.assert_allclose(result.pr_curve.mean, 1)


def test_pr_curve_averages_to_ap50(result):
    for name, curve in result.pr_curve.precision.items():
        assert np.mean(curve) == pytest.approx(result.per_class[name].mask.AP50, abs=1e-12)
        assert np.all(np.diff(curve) <= 0)
    assert np.mean(result.pr_curve.mean) == pytest.approx(result.mask.AP50, abs=1e-12)
    assert len(result.pr_curve.recall) == 101 and result.pr_curve.recall[-1] == 1


def test_nothing_is_printed(scenes, capsys):
    evaluate(Noisy(scenes), scenes)
    assert capsys.readouterr().out == ""


def test_more_than_255_detections_in_an_image():
    scenes = Scenes(images=1, seed=0)
    result = evaluate(Noisy(scenes, detections=600), scenes)
    assert result.detections > 512 and 0 < result.mask.AP50 <= 1 and 0 < result.matterport.mAP50 <= 1
    assert evaluate(result.predictions, scenes).to_json() == result.to_json()


def test_progress_sees_the_batches(scenes):
    seen = []
    found = predict_images(Nothing(), scenes, range(8), 3, lambda batches: seen.extend(batches) or batches)
    assert list(found) == [(image_id, []) for image_id in range(8)]
    assert [list(batch) for batch in seen] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_scores_above_one_by_rounding_and_repetitions_do_not_reach_the_file(scenes):
    class Doubtful:
        def detect_instances(self, images):
            return [
                {
                    "rois": np.array([[5, 5, 30, 30], [5, 5, 30, 30], [9, 9, 9, 40]]),
                    "class_ids": np.ones(3, int),
                    "scores": np.full(3, 1.0000001, np.float32),
                    "mask_probs": np.ones((3, 28, 28)),
                }
            ]

    ((_, entries),) = predict_images(Doubtful(), scenes, [0])
    assert [(e["score"], e["bbox"]) for e in entries] == [(1.0, [5, 5, 25, 25])]
    assert coco_mask.area(entries[0]["segmentation"]) == 625


def test_equal_scores_keep_their_order():
    masks = np.zeros((8, 8, 3), bool)
    masks[:4, :, 0], masks[:4, :, 1], masks[4:, :, 2] = True, True, True
    boxes = np.array([[0, 0, 4, 8], [0, 0, 4, 8], [4, 0, 8, 8]])
    gt_match, pred_match, _ = compute_matches(
        boxes[[0, 2]], np.array([1, 1]), masks[..., [0, 2]], boxes, np.array([1, 1, 1]), np.full(3, 0.5), masks
    )
    np.testing.assert_array_equal(pred_match, [0, -1, 1])
    np.testing.assert_array_equal(gt_match, [0, 2])


def test_recall_without_truth_or_predictions():
    boxes = np.array([[0, 0, 4, 4]])
    for pred, gt in ((boxes, boxes[:0]), (boxes[:0], boxes), (boxes[:0], boxes[:0])):
        recall, ids = compute_recall(pred, gt, 0.5)
        assert recall == 0 and len(ids) == 0
