"""Tests the comparison of two stored evaluations: differences, intervals, and evaluations that cannot be compared."""

import json
import shutil

import numpy as np
import pytest

from bdd100k.report.comparison import write_comparison
from mrcnn.errors import InputError
from mrcnn.evaluation import bootstrap
from mrcnn.evaluation.comparison import compare, read_evaluation
from mrcnn.evaluation.evaluator import evaluate
from mrcnn.evaluation.table_file import load_tables, save_tables
from mrcnn.files import write_json
from tests.evaluation_scenes import Noisy, Scenes
from tests.html_pages import parse


def stored(folder, source, scenes, image_ids=None):
    folder.mkdir()
    result = evaluate(source, scenes, image_ids, samples=0)
    image_ids = scenes.image_ids if image_ids is None else image_ids
    write_json(
        folder / "result.json",
        {
            "evaluated": {
                "data": "d",
                "split": "val",
                "weights": folder.name,
                "settings": {"SCORE": len(folder.name), "SAME": 1},
            },
            **result.to_json(),
        },
    )
    save_tables(folder / "matches.npz", result.tables, [f"street-{i}.jpg" for i in image_ids], scenes.class_names[1:])
    return result


@pytest.fixture(scope="module")
def scenes():
    return Scenes(images=16, seed=2)


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    """Store evaluations of noisy predictions ("all") and of every second one ("half")."""
    folder = tmp_path_factory.mktemp("runs")
    every = stored(folder / "all", Noisy(scenes), scenes)
    rng = np.random.default_rng(0)
    half = [e for e in every.predictions if rng.random() < 0.5]
    stored(folder / "half", half, scenes)
    return folder


def rows(compared):
    figures = [*compared.mask.values(), *compared.box.values(), compared.matterport["mAP50"]]
    return figures + [row for own in compared.per_class.values() for kind in own.values() for row in kind.values()]


def test_tables_come_back_bit_for_bit(folder, scenes):
    tables = evaluate(Noisy(scenes), scenes, samples=0).tables
    again = load_tables(folder / "all" / "matches.npz")
    assert again.images == [f"street-{i}.jpg" for i in range(16)] and again.names == scenes.class_names[1:]
    for kind, table in tables.items():
        for name, values in vars(table).items():
            other = getattr(again.tables[kind], name)
            assert np.array_equal(values, other) and np.asarray(values).dtype == np.asarray(other).dtype, name


def test_a_run_with_itself(folder):
    run = read_evaluation(folder / "all")
    compared = compare(run, run, samples=60)
    defined = [row for row in rows(compared) if row.a is not None]
    assert len(defined) > 30 and compared.settings == {}
    for row in defined:
        assert row.difference == 0 and row.interval in ([0, 0], None) and row.better is None
    assert compared.mask["AP"].interval == [0, 0]


def test_a_clearly_better_run(folder):
    a, b = read_evaluation(folder / "half"), read_evaluation(folder / "all")
    compared, reverse = compare(a, b, samples=200), compare(b, a, samples=200)
    row = compared.mask["AP"]
    assert row.a == a.result["mask"]["AP"] and row.b == b.result["mask"]["AP"]
    assert row.difference == row.b - row.a > 0.05
    assert 0 < row.interval[0] < row.difference < row.interval[1] and row.better == "b"
    assert reverse.mask["AP"].better == "a"
    np.testing.assert_allclose(reverse.mask["AP"].interval, [-v for v in row.interval[::-1]], atol=1e-12)
    assert compared.per_class["car"]["mask"]["AP"].b == b.result["per_class"]["car"]["mask"]["AP"]
    assert compared.settings == {"weights": ("half", "all"), "SCORE": (4, 3)}


def test_the_interval_is_paired(folder, scenes):
    """Its bounds are quantiles of AP(b) - AP(a) of evaluations of the same drawn images."""
    runs = [read_evaluation(folder / name) for name in ("half", "all")]
    compared = compare(*runs, samples=40, seed=5)
    weights = bootstrap.draw(16, 40, 5)
    differences = []
    for row in weights:
        drawn = np.repeat(np.arange(16), row)
        aps = []
        for run in runs:
            ap50 = np.array([np.nan if r["AP50"] is None else r["AP50"] for r in run.result["per_image"]])
            aps.append(np.nanmean(ap50[drawn]))
        differences.append(aps[1] - aps[0])
    np.testing.assert_allclose(
        compared.matterport["mAP50"].interval, np.quantile(differences, [0.025, 0.975]), atol=1e-12
    )
    samples = [bootstrap.samples_of_table(run.stored.tables["mask"], weights)[0]["AP"] for run in runs]
    np.testing.assert_allclose(
        compared.mask["AP"].interval, np.quantile(samples[1] - samples[0], [0.025, 0.975]), atol=1e-12
    )
    apart = np.quantile(samples[1], 0.975) - np.quantile(samples[0], 0.025)
    assert compared.mask["AP"].interval[1] < apart


def test_page(folder, tmp_path):
    a, b = read_evaluation(folder / "half"), read_evaluation(folder / "all")
    compared = compare(a, b, samples=60)
    write_comparison(tmp_path / "compare.html", a, b, compared)
    page = (tmp_path / "compare.html").read_text()
    root = parse(page)
    assert "http" not in page and "url(" not in page and not root.all("script") and not root.all("link")
    for kind in ("mask", "box"):
        for name, own in getattr(compared, kind).items():
            (row,) = root.all("tr", data_figure=f"{kind}/{name}")
            assert row.figures() == [own.a, own.b, own.difference]
            assert row.intervals() == ([] if own.interval is None else [own.interval])
    (row,) = root.all("tr", data_figure="mask/AP")
    assert row.all("td")[-1].text == "B is better" and row.all("data")[2].text.startswith("+")
    assert root.all("section", id="run")[0].all("td")[0].text == "half"


def test_without_intervals(folder):
    run = read_evaluation(folder / "all")
    assert all(row.interval is None and row.better is None for row in rows(compare(run, run, samples=0)))


@pytest.mark.parametrize(
    "image_ids,message",
    [
        (list(range(12)), "16 in the first, 4 only there such as street-12.jpg; 12 in the second"),
        (list(range(16))[::-1], "the order differs"),
    ],
)
def test_other_images(folder, scenes, tmp_path, image_ids, message):
    stored(tmp_path / "other", [], scenes, image_ids)
    with pytest.raises(InputError, match=message):
        compare(read_evaluation(folder / "all"), read_evaluation(tmp_path / "other"))


def test_other_labels_and_classes(folder, tmp_path):
    changed = Scenes(images=16, seed=2)
    changed.instances[7] = changed.instances[7].select(np.arange(1, len(changed.instances[7])))
    stored(tmp_path / "labels", [], changed)
    with pytest.raises(InputError, match=r"different labels, for example of image street-7\.jpg"):
        compare(read_evaluation(folder / "all"), read_evaluation(tmp_path / "labels"))
    changed = Scenes(images=16, seed=2)
    changed.class_names = ["BG", "car", "person", "tram"]
    stored(tmp_path / "classes", [], changed)
    with pytest.raises(InputError, match="has the classes car, person, train; .*tram"):
        compare(read_evaluation(folder / "all"), read_evaluation(tmp_path / "classes"))


def _without(path):
    path.unlink()


@pytest.mark.parametrize(
    "file,damage,message",
    [
        ("result.json", _without, "has no result.json"),
        ("result.json", lambda path: path.write_text("{"), "is not valid JSON"),
        ("result.json", lambda path: path.write_text("[1]"), "was not written by this version"),
        ("result.json", lambda path: path.write_text('{"images": 3}'), "evaluated, mask, .* missing"),
        ("matches.npz", _without, "matches.npz is missing; evaluate again"),
        ("matches.npz", lambda path: path.write_bytes(b"PK nothing"), "is not a file of match tables"),
        ("matches.npz", lambda path: np.savez(path, format=np.array(1)), "is not a file of match tables"),
        ("matches.npz", lambda path: np.savez(path, format=np.array(9)), "has format 9"),
        (
            "matches.npz",
            lambda path: np.savez(path, format=np.array([object()], dtype=object)),
            "is not a file of match tables",
        ),
    ],
)
def test_folders_that_cannot_be_used(folder, tmp_path, file, damage, message):
    for name in ("result.json", "matches.npz"):
        (tmp_path / name).write_bytes((folder / "all" / name).read_bytes())
    read_evaluation(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(InputError, match=message):
        read_evaluation(tmp_path)


def test_files_of_two_runs(folder, scenes, tmp_path):
    stored(tmp_path / "few", [], scenes, [0, 1, 2])
    result = json.loads((tmp_path / "few" / "result.json").read_text())
    (tmp_path / "few" / "matches.npz").write_bytes((folder / "all" / "matches.npz").read_bytes())
    assert result["images"] == 3
    with pytest.raises(InputError, match="of different images"):
        read_evaluation(tmp_path / "few")
    with pytest.raises(InputError, match="is not a folder"):
        read_evaluation(tmp_path / "absent")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mask": {"AP": 1}}, "result.mask.AP50 is missing"),
        ({"mask": 7}, "result.mask is int"),
        ({"matterport": {"mAP50": 10**400}}, "result.matterport.mAP50 is 1000"),
        ({"per_image": [{"image": "a", "objects": "2", "AP50": None}]}, r"result.per_image\[0\].objects is str"),
        ({"per_class": {}}, "different classes"),
        ({"official": 10**400}, "result.official is int"),
        ({"official": {"rle": {"mask": {}}}}, "result.official.rle.mask.AP is missing"),
        ({"evaluated": None}, "result.evaluated is null"),
        ({"errors": {"delta_ap": {}, "counts": {}}}, "a kind of error is missing"),
        ({"pr_curves": {"mask": {"cat": [[]]}}}, "different classes"),
    ],
)
def test_a_result_of_another_form_is_refused(folder, tmp_path, change, message):
    shutil.copytree(folder / "all", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=f"result.json .*{message}"):
        read_evaluation(tmp_path)


@pytest.mark.parametrize(
    "column, value", [("gt_image", 99), ("pair_dt", -1), ("dt_score", np.nan), ("gt_area", np.inf)]
)
def test_tables_that_point_to_nothing_are_refused(folder, tmp_path, column, value):
    shutil.copytree(folder / "all", tmp_path, dirs_exist_ok=True)
    folder = tmp_path
    with np.load(folder / "matches.npz") as file:
        arrays = dict(file)
    changed = arrays[f"mask_{column}"].astype(float)
    changed[0] = value
    for columns, message in (
        ({f"mask_{column}": changed}, f"{column} has values that no evaluation gives"),
        ({f"mask_{column}": changed[:0]}, "another length|values"),
    ):
        np.savez(folder / "matches.npz", **arrays | columns)
        with pytest.raises(InputError, match=f"matches.npz is not a file of match tables .*({message})"):
            read_evaluation(folder)
