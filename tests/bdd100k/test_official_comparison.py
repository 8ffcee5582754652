"""Compares intervals of differences in BDD100K's figures with evaluations of the drawn images."""

import json

import numpy as np
import pytest
from rich.console import Console

from bdd100k.evaluation.protocols import OfficialEvaluator
from bdd100k.report.comparison import show, write_comparison
from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.comparison import compare, read_evaluation
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.table_file import load_tables, save_tables
from mrcnn.files import write_json
from tests.evaluation_scenes import Drawn, found
from tests.html_pages import parse

NAMES = ["pedestrian", "car"]
IMAGES, SAMPLES, SEED = 7, 12, 3
FLAGS = [(), (), (), ("crowd",), ("ignore",), ("crowd", "ignore")]


def scene():
    """Return images with crowds and ignored objects, and the predictions of two detectors, the better one second."""
    rng = np.random.default_rng(5)

    def box():
        y, x, h, w = rng.integers(0, 60, 4) // (1, 1, 2, 2) + (0, 0, 8, 8)
        return int(y), int(x), int(y + h), int(x + w)

    truth = [[(NAMES[rng.integers(2)], box(), *FLAGS[rng.integers(6)]) for _ in range(5)] for _ in range(IMAGES)]
    runs = []
    for spread in (8, 2):
        rows = [
            [
                (name, tuple(int(v) for v in np.array(b) + rng.integers(0, spread, 4)), float(rng.random()))
                for name, b, *_ in [*objects, *objects[:2], (NAMES[rng.integers(2)], box())]
            ]
            for objects in truth
        ]
        runs.append(rows)
    return truth, runs


def evaluated(truth, rows, samples=0):
    """Evaluate images in this order, with repetitions."""
    dataset = Drawn(*truth)
    entries = [found(i, *row) for i, image in enumerate(rows) for row in image]
    return evaluate(entries, dataset, samples=samples, benchmark=OfficialEvaluator(dataset, intervals=samples > 0))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    truth, runs = scene()
    folder = tmp_path_factory.mktemp("runs")
    for name, rows in zip("ab", runs, strict=True):
        (folder / name).mkdir()
        result = evaluated(truth, rows)
        write_json(
            folder / name / "result.json",
            {"evaluated": {"data": "d", "split": "val", "weights": name}, **result.to_json()},
        )
        save_tables(
            folder / name / "matches.npz", result.tables, [f"{i}.jpg" for i in range(IMAGES)], Drawn().class_names[1:]
        )
    return folder


def test_intervals_are_quantiles_of_differences_on_the_drawn_images(folders):
    truth, runs = scene()
    compared = compare(read_evaluation(folders / "a"), read_evaluation(folders / "b"), SAMPLES, SEED)
    drawn = [np.repeat(np.arange(IMAGES), row) for row in bootstrap.draw(IMAGES, SAMPLES, SEED)]
    official = [
        [evaluated([truth[i] for i in some], [rows[i] for i in some]).official for rows in runs] for some in drawn
    ]
    for protocol in ("bitmask", "rle"):
        for figure in ("AP", "AP50", "AP75", "AP_S", "AR1", "AR10", "AR100"):
            a, b = ([getattr(getattr(one[run], protocol).mask, figure) for one in official] for run in (0, 1))
            row = compared.official[protocol].mask[figure]
            known = np.quantile(np.subtract(b, a), [0.025, 0.975])
            np.testing.assert_allclose(row.interval, known, atol=1e-9, err_msg=f"{protocol} {figure}")
            assert known[0] < known[1] and row.a < row.b and row.difference == row.b - row.a
        own = compared.official[protocol].per_class["car"]["AP50"]
        a, b = ([getattr(one[run], protocol).per_class["car"].AP50 for one in official] for run in (0, 1))
        np.testing.assert_allclose(own.interval, np.quantile(np.subtract(b, a), [0.025, 0.975]), atol=1e-9)
        assert compared.official[protocol].per_class["bus"]["AP"].interval is None
    rows = [compared.official[name].mask["AR100"].interval for name in ("bitmask", "rle")]
    assert rows[0] != rows[1]  # a crowd is an object to one of them


def test_page_and_terminal_show_them(folders, tmp_path, capsys):
    a, b = read_evaluation(folders / "a"), read_evaluation(folders / "b")
    compared = compare(a, b, 60)
    write_comparison(tmp_path / "compare.html", a, b, compared)
    root = parse((tmp_path / "compare.html").read_text())
    for protocol in ("bitmask", "rle"):
        own = compared.official[protocol].mask["AP"]
        (row,) = root.all("tr", data_figure=f"{protocol}/AP")
        assert row.figures() == [own.a, own.b, own.difference] and row.intervals() == [own.interval]
        assert own.better == "b" and row.all("td")[-1].text == "B is better"
    show(a, b, compared, Console(width=120))
    lines = [line for line in capsys.readouterr().out.splitlines() if "BDD100K" in line]
    assert len(lines) == 2 and all("B is better" in line for line in lines)


def test_runs_of_an_earlier_version_have_differences_without_intervals(folders, tmp_path):
    for file in ("result.json", "matches.npz"):
        (tmp_path / file).write_bytes((folders / "a" / file).read_bytes())
    with np.load(tmp_path / "matches.npz") as stored:
        old = {
            name: values
            for name, values in stored.items()
            if name.startswith(("mask_", "box_", "images", "names", "format")) and not name.endswith("_plain")
        }
    np.savez(tmp_path / "matches.npz", **old)
    compared = compare(read_evaluation(tmp_path), read_evaluation(folders / "b"), SAMPLES)
    own = compared.official["rle"].mask["AP"]
    assert own.difference > 0 and own.interval is None and compared.mask["AP"].interval is not None
    result = json.loads((tmp_path / "result.json").read_text())
    del result["official"]
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert compare(read_evaluation(tmp_path), read_evaluation(folders / "b"), 0).official == {}


def test_tables_come_back_with_their_rules(folders):
    truth, runs = scene()
    tables, again = evaluated(truth, runs[0]).tables, load_tables(folders / "a" / "matches.npz").tables
    assert list(tables) == list(again) == ["mask", "box", "bitmask", "rle"]
    for kind, table in tables.items():
        assert again[kind].bitmask_rules is table.bitmask_rules is (kind == "bitmask")
        np.testing.assert_array_equal(again[kind].ignored, table.ignored)
        np.testing.assert_array_equal(again[kind].gt_crowd, table.gt_crowd)
    assert (tables["bitmask"].ignored != tables["bitmask"].gt_crowd).any()
