"""What the README shows exists and works: scripts, options, files, the class for own data."""

import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mrcnn.data import Dataset

ROOT = pathlib.Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/\w+\.py", README))))
def test_scripts_know_the_options_shown(script):
    shown = {option for line in README.splitlines() if script in line for option in re.findall(r"--[a-z-]+", line)}
    result = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert shown <= set(re.findall(r"--[a-z-]+", result.stdout))


def test_files_named_exist():
    for name in re.findall(r"`((?:mrcnn|bdd100k|scripts|weights|tests)/[\w./]*|Makefile|LICENSE)`", README):
        assert (ROOT / name).exists(), name
    for folder, files in re.findall(r"^(mrcnn|scripts)/ +(.*?)(?=^\w+/|^```)", README, re.MULTILINE | re.DOTALL):
        named = files.split(":")[-1] if folder == "mrcnn" else files.split(" and ")[0]
        for name in re.findall(r"[a-z_]+", re.sub(r"\.py", "", named)):
            assert (ROOT / folder / f"{name}.py").exists(), f"{folder}/{name}.py"


def test_class_for_own_data(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[1:3, 2:5], labels[4:6, 0:8] = 1, 9
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((6, 8, 3), np.uint8))
    names = {"Dataset": Dataset, "cv2": cv2, "np": np}
    exec(next(block for block in blocks("python") if "class Leaves" in block), names)
    dataset = names["Leaves"]()
    dataset.load(tmp_path)
    dataset.prepare()
    assert dataset.class_names == ["BG", "leaf"] and dataset.num_images == 1
    instances = dataset.load_instances(0)
    assert instances.boxes_px.tolist() == [[1, 2, 3, 5], [4, 0, 6, 8]] and instances.class_ids.tolist() == [1, 1]
    masks = instances.to_masks((6, 8))
    np.testing.assert_array_equal(masks[..., 0], labels == 1)
    np.testing.assert_array_equal(masks[..., 1], labels == 9)
