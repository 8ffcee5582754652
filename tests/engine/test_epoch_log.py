"""Tables, events, pictures and hints of a run, without a network."""

import io
import math
import re

import cv2
import numpy as np
import pytest
from rich.console import Console

from mrcnn.backend.environment import git_revision
from mrcnn.config import Config
from mrcnn.engine import out_of_memory, run_pictures
from mrcnn.engine.epoch_log import Clock, results_table, row_lines
from mrcnn.engine.event_file import EventFile
from mrcnn.engine.results_csv import Results, read_results
from mrcnn.errors import InputError


def row(epoch, ap=math.nan, **more):
    terms = dict.fromkeys(("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss"), 0.25)
    return {
        "epoch": epoch,
        "stage": "heads",
        "loss": 1 / 3,
        **terms,
        "mrcnn_mask_loss": 0.5,
        "val_mask_AP": ap,
        "learning_rate": 0.001,
        "seconds": 12.0,
        "images_per_second": 3.5,
        "data_wait": 0.25,
        "loss_seconds": 1.0,
        "ap_seconds": 2.0,
        **more,
    }


def test_results_read_back_as_they_were_and_epochs_count_once(tmp_path):
    results = Results(tmp_path, 0)
    assert results.best() is None
    for epoch, ap in ((1, 0.1), (2, 0.3), (3, 0.3), (4, math.nan)):
        results.put(row(epoch, ap))
    results.put(row(3, 0.25, val_loss=1e-9))
    again = Results(tmp_path, 4)
    assert [r["epoch"] for r in again.rows] == [1, 2, 3, 4]
    by_epoch = {r["epoch"]: r for r in again.rows}
    assert by_epoch[3]["val_loss"] == 1e-9 and by_epoch[1]["loss"] == 1 / 3 and math.isnan(by_epoch[4]["val_mask_AP"])
    assert again.best()["epoch"] == 2 and again.best(after=2)["epoch"] == 3
    assert [r["epoch"] for r in Results(tmp_path, 2).rows] == [1, 2]
    assert [r["epoch"] for r in read_results(tmp_path / "results.csv")] == [1, 2]  # on the disk too
    (tmp_path / "results.csv").write_text("epoch,loss\nfirst,1\n")
    with pytest.raises(InputError, match=r"results\.csv cannot be read"):
        Results(tmp_path, 2)


def test_table_fits_a_terminal_and_a_wide_one_shows_the_terms():
    rows = [row(n, 0.1 * n, val_loss=9.5, val_mask_AP50=0.5, val_box_AP=0.25) for n in (1, 2)]
    for width, terms in ((80, False), (140, True)):
        out = io.StringIO()
        Console(file=out, width=width).print(results_table(rows, width))
        lines = out.getvalue().splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width and "…" not in out.getvalue()
        assert ("rpn class" in out.getvalue()) == terms
        assert lines[-2].split()[:6] == ["2", "0.333", "9.500", "0.200", "0.500", "0.250"]
    text = row_lines(rows[1])
    assert text[0].startswith("epoch 2, 12 s, 3.5 images/s, 25% of it waiting for data: loss 0.333, rpn_class 0.250")
    assert text[2].strip().startswith("mask AP 0.2000, AP50 0.5000, box AP 0.2500")


class FakeLoader:
    def __init__(self, handed):
        self.handed = handed


def test_waiting_is_the_part_of_a_step_before_its_batch():
    # steps begin at 10, 12, 14; another thread asks for their batches and gets them
    clock = Clock(FakeLoader([(-1, 9.0, 11.5), (-1, 11.5, 11.9), (-1, 14.5, 15.0)]))
    clock.begun, clock.start, clock.end = [10.0, 12.0, 14.0], 10.0, 20.0
    assert clock.waited() == pytest.approx(1.5 + 0.0 + 0.5)  # the last one was only requested at 14.5
    assert clock.seconds == 10.0 and clock.step_seconds() == pytest.approx((20 - 12) / 2)
    own = Clock(FakeLoader([]))
    own.loader.handed = [(own.thread, 10.0, 10.25), (own.thread, 12.0, 12.5)]
    own.begun, own.start, own.end = [10.0, 12.0], 10.0, 13.0
    assert own.waited() == pytest.approx(0.75)


def test_events_are_what_tensorflow_reads(tmp_path):
    iterator = pytest.importorskip("tensorflow").compat.v1.train.summary_iterator
    picture = np.full((24, 32, 3), 200, np.uint8)
    events, again = (EventFile(tmp_path / "tensorboard", first_step=step) for step in (300, 302))
    events.add_scalar("val/mask_AP", 0.25, 300)
    events.add_scalar("train/loss", -1.5, 300)
    events.add_image("validation", picture, 301)
    events.close()
    path, other = sorted((tmp_path / "tensorboard").iterdir(), key=lambda file: file.name)  # two in the same second
    read = list(iterator(str(path)))  # checks the checksums
    assert read[0].file_version == "brain.Event:2" and read[0].wall_time > 1.6e9
    assert [event.step for event in read if event.session_log.status == 1] == [300]
    values = [(event.step, value) for event in read for value in event.summary.value]
    assert [(step, v.tag, v.simple_value) for step, v in values[:2]] == [
        (300, "val/mask_AP", 0.25),
        (300, "train/loss", -1.5),
    ]
    step, image = values[2][0], values[2][1].image
    assert step == 301 and (image.height, image.width, image.colorspace) == (24, 32, 3)
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - 200).max() <= 2
    again.close()
    assert [event.step for event in iterator(str(other)) if event.session_log.status == 1] == [302]


def count_color(path, color):
    return int((np.abs(cv2.imread(str(path))[..., ::-1].astype(int) - color).max(-1) < 6).sum())


def test_curves_show_what_was_measured(tmp_path):
    blue = (0x00, 0x72, 0xB2)  # of mask AP
    run_pictures.plot_curves([row(1), row(2)], tmp_path / "without.png", "run")
    run_pictures.plot_curves([row(1, 0.1), row(2, 0.4)], tmp_path / "with.png", "run")
    run_pictures.plot_curves([row(1, learning_rate=0.0)], tmp_path / "one.png", "run")
    assert count_color(tmp_path / "without.png", blue) == 0 < 300 < count_color(tmp_path / "with.png", blue)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "with.png", "without.png"]


@pytest.mark.parametrize("mini", [True, False])
def test_objects_of_a_batch_are_drawn_where_they_lie(mini):
    inputs = {
        "input_image": np.zeros((1, 64, 96, 3), np.uint8),
        "input_gt_class_ids": np.array([[2, -1, 0]], np.int32),
        "input_gt_boxes": np.array([[[8, 16, 24, 48], [40, 50, 44, 60], [0, 0, 0, 0]]], np.float32),
        "input_gt_masks": np.zeros((1, *((28, 28) if mini else (64, 96)), 3), bool),
    }
    if mini:
        inputs["input_gt_masks"][0, :, :14, 0] = inputs["input_gt_masks"][0, :, :, 1] = True
    else:
        inputs["input_gt_masks"][0, 8:24, 16:32, 0] = inputs["input_gt_masks"][0, 40:44, 50:60, 1] = True
    found = run_pictures.batch_instances(inputs, 0)
    expected = np.zeros((64, 96, 2), bool)
    expected[8:24, 16:32, 0] = expected[40:44, 50:60, 1] = True  # the left half of the first, all of the second
    edge = np.zeros((64, 96, 2), bool)
    edge[8:24, 16:48, 0] = edge[40:44, 50:60, 1] = mini  # bilinear enlargement is dark at the border
    edge[10:22, 18:30, 0] = edge[10:22, 34:46, 0] = edge[41:43, 51:59, 1] = False
    wrong = found.to_masks((64, 96)) != expected
    assert not (wrong & ~edge).any()
    assert found.class_ids.tolist() == [2, 1] and found.crowd.tolist() == [False, True]


class OutOfMemoryError(RuntimeError):
    """An exception with the name of PyTorch's."""


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."), True),
        (MemoryError(), True),
        (RuntimeError("INVALID_ARGUMENT: shapes differ"), False),
        (InputError("a worker process ended: it ran out of memory"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_full_memory_is_recognised_by_its_words(error, full):
    assert out_of_memory.is_out_of_memory(error) == full
    if full:
        with pytest.raises(InputError, match="800 x 1024 px with 200 ROIs"):  # noqa: SIM117
            with out_of_memory.explaining_memory(Config(), (800, 1024, 3)):
                raise error
    else:
        with pytest.raises(type(error)), out_of_memory.explaining_memory(Config(), (800, 1024, 3)):
            raise error


def test_advice_follows_the_settings():
    class Large(Config):
        IMAGES_PER_GPU = 4
        IMAGE_RESIZE_MODE = "rect"

    message = out_of_memory.memory_message(MemoryError(), Large(), (768, 1280))
    expected = (
        "IMAGES_PER_GPU=2 with GRADIENT_ACCUMULATION_STEPS=2",
        "TRAIN_ROIS_PER_IMAGE=100",
        "images of 576 x 960 px (56% of the pixels; IMAGE_MIN_DIM, IMAGE_MAX_DIM)",
        "BACKBONE=resnet50",
    )
    places = [message.find(text) for text in expected]
    assert -1 not in places and places == sorted(places), message


@pytest.mark.parametrize(
    "backbone, lighter",
    [
        ("resnet152", "resnet101"),
        ("resnet50", "resnet34"),
        ("resnext50_32x4d", "resnet50"),
        ("wide_resnet101_2", "resnet101"),
        ("resnet18", None),
        ("convnext_tiny", None),
    ],
)
def test_advice_on_memory_names_the_next_lighter_resnet(backbone, lighter):
    config = Config()
    config.BACKBONE = backbone
    found = re.findall(r"BACKBONE=(\w+)", out_of_memory.memory_message(MemoryError(), config, (512, 512)))
    assert found == ([lighter] if lighter else [])


def test_revision_of_what_git_does_not_know(tmp_path):
    (tmp_path / "a.py").write_text("")
    assert git_revision(tmp_path / "a.py") is None
