"""scripts/evaluate.py from arguments to files, with a stub for the model."""

import importlib.util
import json
import pathlib

import cv2
import pytest

from bdd100k import open_data
from bdd100k.config import StreetsConfig
from mrcnn import errors
from mrcnn.evaluation.evaluator import evaluate
from tests.evaluation_scenes import Drawn, Noisy, Scenes


@pytest.fixture
def run_script(monkeypatch):
    path = pathlib.Path(__file__).parents[2] / "scripts" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("evaluate_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    scenes = Scenes(images=5)

    def stub(args, class_names):
        model = Noisy(scenes)
        model.config = StreetsConfig()
        return model, "stub.h5"

    def run(*arguments, model=stub, dataset=scenes):
        monkeypatch.setattr("sys.argv", ["evaluate.py", *map(str, arguments)])
        monkeypatch.setattr(open_data, "open_dataset", lambda *_: dataset)
        if model:
            monkeypatch.setattr(script, "build_model", model)
        return errors.exit_code(script.main)

    return run


def test_files_and_table(run_script, tmp_path, capsys):
    assert run_script("--out", tmp_path / "a") == 0
    files = ["matches.npz", "pr_curve.png", "predictions.json", "report.html", "result.json", "samples.png"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == files
    results = json.loads((tmp_path / "a" / "result.json").read_text())
    scenes = Scenes(images=5)
    expected = evaluate(Noisy(scenes), scenes, batch_size=2).to_json()
    assert {name: results[name] for name in expected} == expected
    assert results["evaluated"]["weights"] == "stub.h5" and results["evaluated"]["settings"]["NAME"] == "streets"
    printed = capsys.readouterr().out
    assert f"{100 * expected['mask']['AP']:.1f}" in printed and "not AP50" in printed
    low, high = expected["intervals"]["matterport"]["mAP50"]
    assert f"{100 * expected['matterport']['mAP50']:.1f} {100 * low:.1f}-{100 * high:.1f}" in printed
    assert "train" in printed and "person" in printed
    assert cv2.imread(str(tmp_path / "a" / "samples.png")).shape[1] == 2 * 640 + 3 * 8
    assert cv2.imread(str(tmp_path / "a" / "pr_curve.png")).std() > 10


def test_report_and_comparison(run_script, tmp_path, capsys):
    """Compares a run with itself, with a run that has fewer predictions, and with folders that cannot be compared."""
    a, b, few = (tmp_path / name for name in ("a", "b", "few"))
    assert run_script("--out", a) == 0
    report = (a / "report.html").read_text()
    result = json.loads((a / "result.json").read_text())
    assert f'<data value="{result["mask"]["AP"]!r}">' in report and "stub.h5" in report
    (tmp_path / "none.json").write_text("[]")
    assert run_script("--out", b, "--predictions", tmp_path / "none.json", "--no-report") == 0
    assert not (b / "report.html").exists() and (b / "matches.npz").exists()
    capsys.readouterr()
    assert run_script("--compare", a, a, "--out", tmp_path / "same") == 0
    printed = capsys.readouterr().out
    assert "equal" in printed and "is better" not in printed
    assert run_script("--compare", b, a, "--out", tmp_path / "other", "--bootstrap", 50) == 0
    printed = capsys.readouterr().out
    assert "B is better" in printed and f"0.0  {100 * result['mask']['AP']:.1f}" in printed
    compared = json.loads((tmp_path / "other" / "compare.json").read_text())
    assert compared["mask"]["AP"]["difference"] == result["mask"]["AP"] and compared["samples"] == 50
    assert "B is better" in (tmp_path / "other" / "compare.html").read_text()
    assert run_script("--out", few, "--limit", 2, "--predictions", tmp_path / "none.json") == 0
    for second, message in (
        (few, "are of different images"),
        (tmp_path, "has no result.json"),
        (tmp_path / "absent", "is not a folder"),
    ):
        capsys.readouterr()
        assert run_script("--compare", a, second, "--out", tmp_path / "c") == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]


def test_predictions_file_gives_the_same_results(run_script, tmp_path):
    assert run_script("--out", tmp_path / "a") == 0
    assert run_script("--out", tmp_path / "b", "--predictions", tmp_path / "a" / "predictions.json") == 0
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in "ab")
    assert second.pop("evaluated")["predictions"].endswith("predictions.json") and first.pop("evaluated")
    assert first == second
    assert (tmp_path / "a" / "predictions.json").exists()


def test_limit_chooses_among_the_images_of_a_file(run_script, tmp_path):
    assert run_script("--out", tmp_path / "a") == 0
    assert run_script("--out", tmp_path / "b", "--limit", 2, "--predictions", tmp_path / "a" / "predictions.json") == 0
    assert json.loads((tmp_path / "b" / "result.json").read_text())["images"] == 2


def test_submission_and_a_stopped_run(run_script, tmp_path, monkeypatch):
    """With BDD100K's classes: the second call resumes where Ctrl-C stopped the first."""
    dataset = Drawn(*[[("car", (10, 10, 60, 70)), ("bus", (0, 0, 9, 9), "occluded")]] * 5)
    dataset.instances = [dataset.load_instances(i) for i in dataset.image_ids]
    models = []

    def stopping(args, class_names):
        model = Noisy(dataset)
        detect, model.config, model.calls = model.detect_instances, StreetsConfig(), 0

        def stop_after_two(images):
            model.calls += 1
            if not models and model.calls == 3:
                models.append(model)
                raise KeyboardInterrupt
            return detect(images)

        model.detect_instances = stop_after_two
        model.config.BATCH_SIZE = 1
        last.append(model)
        return model, "stub.h5"

    last: list = []
    out = tmp_path / "a"
    assert run_script("--out", out, model=stopping, dataset=dataset) == 130
    assert not (out / "result.json").exists()
    assert run_script("--out", out, "--bootstrap", 0, model=stopping, dataset=dataset) == 0
    assert last[-1].calls == 3  # of five images
    result = json.loads((out / "result.json").read_text())
    assert result["intervals"] == {} and result["official"]["bitmask"]["mask"]["AP"] is not None
    assert sorted(p.name for p in (out / "submission").iterdir()) == ["bitmask_scores.json", "bitmasks", "rle.json"]
    assert not list(out.glob(".*"))
    assert run_script("--out", tmp_path / "b", "--predictions", out / "submission", dataset=dataset) == 0
    again = json.loads((tmp_path / "b" / "result.json").read_text())
    assert again["official"]["bitmask"]["mask"] == pytest.approx(result["official"]["bitmask"]["mask"], abs=1e-9)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--predictions", "absent.json"], "absent.json: cannot be read: No such file"),
        (["--weights", "none"], "untrained model"),
        (["--predictions", "a.json", "--weights", "b.h5"], "--weights: without effect beside --predictions"),
        (
            ["--compare", "a", "b", "--limit", "3", "--no-report"],
            "--limit, --no-report: without effect beside --compare",
        ),
        (["--weights", "absent.h5"], "absent.h5"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(run_script, tmp_path, capsys, arguments, message):
    assert run_script("--out", tmp_path / "a", *arguments, model=None) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error


def test_out_that_is_a_file(run_script, tmp_path, capsys):
    (tmp_path / "a").write_text("")
    assert run_script("--out", tmp_path / "a") == 2
    assert "cannot create the folder" in capsys.readouterr().err


def test_real_labels_of_two_formats_agree(shared_data):
    from bdd100k.dataset import BDD100KDataset

    folder = shared_data / "bdd_sample"
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, "val", labels=folder / "ins_seg_scalabel.json")
    dataset.prepare()
    coco = json.loads((folder / "ins_seg_cocofmt.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    entries = [
        {
            "image_id": names[a["image_id"]],
            "category_id": a["category_id"],
            "score": 1.0,
            "bbox": a["bbox"],
            "segmentation": a["segmentation"],
        }
        for a in coco["annotations"]
    ]
    result = evaluate(entries, dataset)
    assert result.images == 3 and result.detections == result.objects + result.ignored == 38
    assert result.mask.AP == result.box.AP == pytest.approx(1) and result.matterport.mAP50 == 1
