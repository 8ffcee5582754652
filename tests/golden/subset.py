"""Makes the files of this folder from the full recordings: `python -m tests.golden.subset FOLDER_OF_THE_RECORDINGS`.

What is kept of each file, and why that is enough, stands beside its function. README.md has the list.
"""

import argparse
import pathlib
import shutil

import numpy as np

from tests.streams import regenerated

HERE = pathlib.Path(__file__).parent
ROW_STEP = 7  # of pictures every seventh row is kept
STAGE_SAMPLES = 2000

Arrays = dict[str, np.ndarray]


def utils_resize_image(arrays: Arrays) -> Arrays:
    """Every seventh row of the pictures that were recorded whole; of those of noise rows and samples were recorded."""
    kept = {key: value for key, value in arrays.items() if not key.endswith("/image")}
    for key in [key for key in arrays if key.endswith("/image")]:
        kept[key.replace("/image", "/every_7th_row")] = arrays[key][::ROW_STEP]
    return kept


def data_load_image_gt(arrays: Arrays) -> Arrays:
    """Every seventh row of a picture, once: it is the same with full masks and with mini-masks."""
    kept = {key: value for key, value in arrays.items() if key.startswith("in") or not key.endswith("/image")}
    for key in [key for key in arrays if key.endswith("/image") and not key.startswith("in")]:
        other = key.replace("/mini/", "/full/")
        if key == other or other not in arrays:
            kept[key.replace("/image", "/every_7th_row")] = arrays[key][::ROW_STEP]
        else:
            assert np.array_equal(arrays[key], arrays[other]), key
    return kept


def data_generator(arrays: Arrays) -> Arrays:
    """Every seventh row of a batch. The pictures it was fed are those of data_load_image_gt."""
    kept = {}
    for key, value in arrays.items():
        if key.endswith("/images"):
            kept[key.replace("/images", "/every_7th_row")] = value[:, ::ROW_STEP]
        elif not key.startswith("in"):
            kept[key] = value
    return kept


def utils_anchors(arrays: Arrays) -> Arrays:
    """The first rows; the json has a hash of all of them."""
    return {key: value for key, value in arrays.items() if key.endswith(("/first50", "_shapes", "single_level"))}


def graph_heads(arrays: Arrays) -> Arrays:
    """All but the weights and maps, which are streams; of each mask every fourth row."""
    return {key: value[:, :, ::4] if key == "heads/out/mask" else value for key, value in arrays.items()}


def graph_losses(arrays: Arrays) -> Arrays:
    """The mask loss reads the mask of the target class only: the others are set to zero, which is nothing on disk."""
    masks, class_ids = arrays["mask/pred_masks"], arrays["mask/target_class_ids"]
    read = np.arange(masks.shape[-1]) == class_ids[:, :, None]  # [N, R, C]
    read &= (class_ids > 0)[:, :, None]
    return arrays | {"mask/pred_masks": masks * read[:, :, None, None, :].astype(masks.dtype)}


def graph_proposals(arrays: Arrays) -> Arrays:
    """Of the 1024 px cases the 6000 best anchors, which is all that the layer looks at; their numbers in `anchor`."""
    kept = {key: value for key, value in arrays.items() if not key.startswith("p1024") or key.endswith("/proposals")}
    for case in ("p1024_infer", "p1024_train"):
        scores = arrays[f"{case}/fg_scores"][0]
        best = np.flatnonzero(scores >= np.sort(scores)[-6000]).astype(np.int32)
        kept[f"{case}/anchor"] = best
        for name in ("fg_scores", "rpn_bbox"):
            kept[f"{case}/{name}"] = arrays[f"{case}/{name}"][:, best]
    return kept


def model(arrays: Arrays) -> Arrays:
    """Masks as whole 1/65535ths: of each detection that of its class, of every tenth those of all classes.

    Of the stages 2000 values at equal distances; the standard deviation, to which they are compared, of all values.
    """
    kept = {key: value for key, value in arrays.items() if not key.startswith("stage/") and key != "out/mrcnn_mask"}
    masks = np.round(arrays["out/mrcnn_mask"].astype(np.float64) * 65535).astype(np.uint16)
    class_ids = arrays["out/detections"][:, :, 4].astype(int)  # [N, D]
    kept["out/mask_of_class"] = np.take_along_axis(masks, class_ids[:, :, None, None, None], axis=-1)[..., 0]
    kept["out/mask_every_10th"] = masks[:, ::10]
    for key in [key for key in arrays if key.startswith("stage/")]:
        flat = arrays[key].reshape(-1)
        kept[key] = flat[:: -(-flat.size // STAGE_SAMPLES)]
        kept[f"{key}/std"] = np.float32(flat.std())
    return kept


def train_resnet50(arrays: Arrays) -> Arrays:
    """Part A without the data set behind its batch and the two largest gradients, whose norms are kept."""
    large = ("res2a_branch1/kernel", "conv1/kernel")
    return {
        key: value
        for key, value in arrays.items()
        if key.startswith(("batch/", "A/", "steps/")) and not (key.startswith("A/grad/") and key.endswith(large))
    }


RULES = {
    "utils_anchors": utils_anchors,
    "utils_resize_image": utils_resize_image,
    "data_load_image_gt": data_load_image_gt,
    "data_generator": data_generator,
    "graph_heads": graph_heads,
    "graph_losses": graph_losses,
    "graph_proposals": graph_proposals,
    "graph_roialign": dict,  # whole, but for the streams
    "train_resnet50": train_resnet50,
    **{f"model_resnet50_128_{case}": model for case in ("batch2", "drawn120x90", "smooth100x150", "smooth128")},
}
WHOLE = [
    "data_detection_targets", "data_rpn_targets", "graph_boxes", "graph_detection_targets", "graph_detections",
    "utils_boxes", "utils_masks", "utils_matches", "utils_meta",
]
JSON = [
    "data_detection_targets", "data_errors", "data_generator", "data_load_image_gt", "data_rpn_targets",
    "graph_detection_targets", "graph_detections", "graph_errors", "graph_heads", "graph_losses", "graph_proposals",
    "graph_roialign", "h5_structure_resnet50", "layers_resnet50", "model_resnet50", "model_weights_recipe_resnet50",
    "set_trainable_resnet50", "train_resnet50", "utils_anchors", "utils_boxes", "utils_errors", "utils_masks",
    "utils_matches", "utils_meta", "utils_resize_image",
]


def make(source: pathlib.Path) -> None:
    """Write all files; a stream that is not equal to the recorded array stops it."""
    for name in [*(f"{name}.json" for name in JSON), *(f"{name}.npz" for name in WHOLE)]:
        shutil.copyfile(source / name, HERE / name)
    for name, rule in RULES.items():
        arrays = dict(np.load(source / f"{name}.npz", allow_pickle=False))
        for key, value in regenerated(name).items():
            assert value.dtype == arrays[key].dtype and np.array_equal(value, arrays[key]), (name, key)
            del arrays[key]
        np.savez_compressed(HERE / f"{name}.npz", **rule(arrays))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=pathlib.Path)
    make(parser.parse_args().recordings)
