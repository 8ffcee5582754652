"""Tests that a run folder belongs to one training at a time, and to one run alone."""

import errno
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from mrcnn.config import Config
from mrcnn.engine import run_folder, run_lock
from mrcnn.engine.run import TrainingRun
from mrcnn.engine.run_lock import RunLock, claim_new
from mrcnn.errors import InputError
from mrcnn.files import make_folder

HOLD = """
import sys
from mrcnn.engine.run_lock import RunLock
lock = RunLock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def new_run(model_dir: pathlib.Path, name: str | None = "shapes") -> TrainingRun:
    config = Config()
    config.NAME = name
    run = TrainingRun(None, config)  # type: ignore[arg-type]
    run.place(model_dir)
    return run


def test_runs_of_one_minute_have_folders_of_their_own(tmp_path):
    first, second, third = new_run(tmp_path), new_run(tmp_path), new_run(tmp_path)
    second.folder = second._new = third.folder = third._new = first.folder  # also at the end of a minute
    with first.owned(), second.owned(), third.owned():
        names = [pathlib.Path(run.folder).name for run in (first, second, third)]
        assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]
        assert second.checkpoint(7) == tmp_path / f"{names[0]}-2" / "mask_rcnn_shapes_0007.h5"
    with second.owned():  # a second stage goes on in its folder
        assert pathlib.Path(second.folder).name == names[1]
    folder, lock = claim_new(first.folder)
    lock.close()
    assert folder == f"{first.folder}-4"  # a run that has ended keeps its folder


def test_a_folder_without_a_run_is_taken_as_it_is(tmp_path):
    (tmp_path / "a" / "mine").mkdir(parents=True)  # a caller's own
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mask_rcnn_shapes_0001.h5").touch()  # a run of a version without locks
    for name, expected in (("a", "a"), ("b", "b-2")):
        folder, lock = claim_new(str(tmp_path / name))
        lock.close()
        assert folder == str(tmp_path / expected)


def test_a_second_training_in_a_folder_is_refused_by_name(tmp_path):
    run, again = new_run(tmp_path), new_run(tmp_path)
    with run.owned():
        checkpoint = run.checkpoint(3)
        checkpoint.touch()
        again.place(tmp_path, checkpoint)
        assert (again.folder, again.epoch) == (run.folder, 3)
        with (
            pytest.raises(InputError, match=rf"another training is writing into {run.folder} \(process \d+ on ") as why,
            again.owned(),
        ):
            pass
        assert "copy that file to another folder" in str(why.value)
        with run.owned():  # nested
            pass
        with pytest.raises(InputError, match="another training"):
            run_lock.refuse_unusable(run.folder)
    run_lock.refuse_unusable(run.folder)
    with again.owned():
        assert again.folder == run.folder


def test_the_lock_of_a_killed_process_is_free_and_its_leftovers_go(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {process.pid} on"):
        RunLock(tmp_path)
    process.kill()
    process.communicate()
    (tmp_path / "batches").mkdir()
    left = [tmp_path / ".0123456789abcdef-0.tmp", tmp_path / "batches" / ".fedcba9876543210-1.tmp.png"]
    kept = [tmp_path / "notes.tmp", tmp_path / "training.state"]
    for path in left + kept:
        path.touch()
    run = new_run(tmp_path)
    run.folder = str(tmp_path)  # as a client assigns log_dir
    with run.owned():
        assert [path.exists() for path in left + kept] == [False, False, True, True]


def test_without_locks_a_warning_is_logged(tmp_path, monkeypatch, caplog):
    def flock(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with caplog.at_level("WARNING", logger="mrcnn.engine.run_lock"):
        RunLock(tmp_path).close()
        RunLock(tmp_path).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert f"{tmp_path} cannot be locked (No locks available)" in caplog.text


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "logs"):
        with pytest.raises(InputError, match=f"{tmp_path / 'file'} is no folder"):
            run_lock.refuse_unusable(place)
        with pytest.raises(InputError, match="cannot create the folder"):
            make_folder(place)


@pytest.mark.parametrize("name", ["a/b", "..\\x", "a\nb", "x" * 200, "{0}", "\ud800", "\0", "a\u202eb"])
def test_names_that_are_no_folder(name, tmp_path):
    run = new_run(tmp_path, name)
    with pytest.raises(InputError, match="NAME is "), run.owned():
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_newest_run_of_a_minute_is_the_last_one(tmp_path):
    for run in ("x20250101T0000", "x20250101T0000-2", "x20250101T0000-10", "x20241231T2359-11", "x-220250101T0000"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "mask_rcnn_x_0001.h5").touch()
    last = tmp_path / "x20250101T0000-10" / "mask_rcnn_x_0001.h5"
    assert run_folder.find_last(tmp_path, "x") == str(last)
    last.unlink()
    assert run_folder.find_last(tmp_path, "x") == str(tmp_path / "x20250101T0000-2" / "mask_rcnn_x_0001.h5")


@pytest.mark.parametrize(
    ("path", "epoch"),
    [
        ("/logs/shapes20171029T2315/mask_rcnn_shapes_0001.h5", 1),  # Matterport's own example
        ("/logs/shapes20171029T2315-2/mask_rcnn_shapes_0012.h5", 12),
        ("/logs/my v1.2 20171029T2315-12/mask_rcnn_my v1.2 _0012.h5", 12),
        ("C:\\logs\\shapes20171029T2315\\mask_rcnn_shapes_10000.h5", 10000),
        ("/logs/shapes20171029T2315/mask_rcnn_shapes_best.h5", 0),
        ("/logs/other/mask_rcnn_shapes_0001.h5", 0),
    ],
)
def test_a_checkpoint_names_its_run_and_epoch(path, epoch):
    folder, done = run_folder.folder_and_epoch("/elsewhere", "shapes", path)
    assert done == epoch
    if epoch and "\\" not in path:
        assert folder == path.rpartition("/")[0]
    elif not epoch:
        assert folder.startswith("/elsewhere/shapes")


def test_too_little_room_is_said_in_numbers(tmp_path, monkeypatch):
    usage = types.SimpleNamespace(total=10**9, used=0, free=12_300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    run_folder.refuse_full_disk(tmp_path, 12_300_000, "a checkpoint with its state")
    with pytest.raises(InputError, match=r"has 12\.3 MB left, and a checkpoint with its state needs 12\.5 MB"):
        run_folder.refuse_full_disk(tmp_path, 12_500_000, "a checkpoint with its state")
