"""scripts/benchmark.py ablation: the wider backbone begins as the network it grew from; what a line keeps."""

import argparse
import pathlib
from types import SimpleNamespace

import keras
import numpy as np

from bdd100k.config import StreetsConfig
from mrcnn.modeling import weights
from mrcnn.modeling.resnet import resnet_graph
from scripts.benchmarks import ablation


def backbone(width: int) -> keras.Model:
    image = keras.Input((64, 64, 3), name="input_image")
    return keras.Model(image, resnet_graph(image, "resnet18", stage5=True, train_bn=False, width=width))


def test_a_widened_backbone_computes_the_same(tmp_path):
    keras.utils.set_random_seed(3)
    narrow, wide = backbone(16), backbone(32)
    rng = np.random.default_rng(0)
    for variable in narrow.variables:  # statistics and biases that are not those of a new network
        variable.assign(variable.numpy() + rng.uniform(0, 0.1, variable.shape))
    weights.save_weights(narrow, tmp_path / "narrow.h5")
    report = weights.load_weights(wide, ablation.widen(tmp_path / "narrow.h5", tmp_path / "wide.h5", noise=0.0))
    assert not report.skipped
    image = rng.uniform(-100, 100, (1, 64, 64, 3)).astype(np.float32)
    for before, now in zip(narrow.predict_on_batch(image), wide.predict_on_batch(image), strict=True):
        np.testing.assert_allclose(now, np.concatenate([before, before], axis=-1), rtol=1e-3, atol=1e-3)


def test_a_choice_that_lowers_ap_is_left_out_of_the_lines_after_it(tmp_path, monkeypatch):
    gains = {"augmentation": -0.02, "class_balance": 0.01, "larger_backbone": 0.0, "rectangular": 0.03}
    trained = {}
    monkeypatch.setattr(ablation, "_rare", lambda data: {"train": 26})
    monkeypatch.setattr(
        ablation, "_train_and_evaluate", lambda folder, data, options: trained.update({folder.name: options}) or {}
    )
    monkeypatch.setattr(ablation, "_figures", lambda folder, rare: {"AP": 0.5})
    monkeypatch.setattr(ablation.comparison, "read_evaluation", lambda folder: folder.name)

    def compare(a, b):
        return SimpleNamespace(to_json=lambda: {"mask": {"AP": {"difference": gains[b], "against": a}}})

    monkeypatch.setattr(ablation.comparison, "compare", compare)
    monkeypatch.setattr(ablation, "show", lambda report: None)
    settings = argparse.Namespace(
        size="large", lines="recipe", out=str(tmp_path), data="somewhere", epochs=[1, 2], overrides=["IMAGES_PER_GPU=2"]
    )
    lines = ablation.run(settings)["lines"]
    assert [line["kept"] for line in lines.values()] == [True, False, True, True, True]
    against = [line["difference"]["against"] for name, line in lines.items() if name != "seed recipe"]
    assert against == ["seed_recipe", "seed_recipe", "class_balance", "larger_backbone"]
    assert "--augment" in trained["augmentation"] and "--augment" not in trained["class_balance"]
    last = trained["rectangular"]
    assert "--balance" in last and "BACKBONE=resnet101" in last and "IMAGE_RESIZE_MODE=rect" in last
    assert last.index("--epochs") + 2 == last.index("2") and last[-1] == "IMAGES_PER_GPU=2"


def test_lines_of_the_variants_are_settings_that_change_something():
    lines = ablation.choices(ablation.SIZES["small"], pathlib.Path(), "variants")
    assert lines.pop("seed recipe") == [] and len(lines) == 6
    config = StreetsConfig()
    for added in lines.values():
        before = config.to_dict()
        config.override(added[1::2]).validate()
        assert set(added[::2]) == {"--set"} and config.to_dict() != before
