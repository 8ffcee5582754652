"""Every recorded file is read by a test, so that a clone alone proves the parity."""

import importlib
import inspect
import pathlib
import re

import pytest

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"

# stem of the files in tests/golden -> the modules of this folder that compare with them
READERS = {
    "data_detection_targets": ["test_generator"],
    "data_errors": ["test_errors"],
    "data_generator": ["test_generator"],
    "data_load_image_gt": ["test_load_image_gt", "test_generator"],
    "data_rpn_targets": ["test_rpn_targets"],
    "graph_boxes": ["test_boxes"],
    "graph_detection_targets": ["test_detection_targets"],
    "graph_detections": ["test_detections"],
    "graph_errors": ["test_errors"],
    "graph_heads": ["test_heads", "test_proposals"],
    "graph_losses": ["test_losses"],
    "graph_proposals": ["test_proposals"],
    "graph_roialign": ["test_roialign"],
    "h5_structure_resnet50": ["test_h5_layout", "test_model"],
    "layers_resnet50": ["test_layers", "test_model"],
    "model_resnet50": ["test_model"],
    "model_resnet50_128_batch2": ["test_model"],
    "model_resnet50_128_drawn120x90": ["test_model"],
    "model_resnet50_128_smooth100x150": ["test_model"],
    "model_resnet50_128_smooth128": ["test_model"],
    "model_weights_recipe_resnet50": ["test_h5_layout", "test_model"],
    "set_trainable_resnet50": ["test_layers"],
    "train_resnet50": ["test_training"],
    "utils_anchors": ["test_boxes"],
    "utils_boxes": ["test_boxes", "test_utils", "test_matches"],
    "utils_errors": ["test_errors"],
    "utils_masks": ["test_masks"],
    "utils_matches": ["test_matches"],
    "utils_meta": ["test_meta"],
    "utils_resize_image": ["test_resize_image"],
}


def test_the_list_is_complete():
    files = {path.stem for path in GOLDEN.iterdir() if path.suffix in (".npz", ".json")}
    assert files == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_file_is_read(name):
    for reader in READERS[name]:
        module = importlib.import_module(f"tests.parity.{reader}")
        source = inspect.getsource(module)
        if name.startswith("model_resnet50_"):  # read as f"model_resnet50_{case}"
            assert name.removeprefix("model_resnet50_") in module.CASES and 'f"model_resnet50_{case}"' in source
            continue
        kinds = [path.suffix[1:] for path in GOLDEN.glob(f"{name}.*")]
        read = [kind for kind in kinds if f'golden.{kind}("{name}")' in source]
        assert read, f"{reader} does not read {name}"


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_each_kind_of_file_is_read_by_some_reader(suffix):
    for path in GOLDEN.glob(f"*.{suffix}"):
        if path.stem.startswith("model_resnet50_"):
            continue
        sources = [inspect.getsource(importlib.import_module(f"tests.parity.{r}")) for r in READERS[path.stem]]
        assert any(f'golden.{suffix}("{path.stem}")' in source for source in sources), path.name


def test_every_test_of_the_readme_exists():
    text = (GOLDEN.parent / "parity" / "README.md").read_text()
    named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", text)
    assert len(named) > 40
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (GOLDEN.parent / path).read_text()]
    assert missing == []
