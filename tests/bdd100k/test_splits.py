"""The held-out test split: chosen by hash, listed with a checksum, left out of train and used by test."""

import hashlib
import logging

import pytest

from bdd100k import open_data, splits
from bdd100k.streets.scenes import write_streets
from mrcnn.errors import InputError

NAMES = [f"{i:08x}.jpg" for i in range(50)]


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    write_streets(folder, train=6, val=2, seed=5)
    return folder


@pytest.fixture
def data(streets):
    yield str(streets)
    splits.list_path(streets).unlink(missing_ok=True)


def names(dataset) -> set[str]:
    return {info["name"] for info in dataset.image_info}


def test_a_draw_depends_on_seed_and_names_alone():
    chosen = splits.choose_names(NAMES, 10)
    assert chosen == splits.choose_names(NAMES[::-1], 10) == sorted(set(chosen))
    assert len(chosen) == 10 and set(chosen) < set(NAMES)
    assert chosen != splits.choose_names(NAMES, 10, seed=1)
    assert set(chosen) < set(splits.choose_names(NAMES, 20))
    # most of them stay when an image is missing
    assert len(set(chosen) & set(splits.choose_names(NAMES[1:], 10))) >= 9
    for count in (0, 50):
        with pytest.raises(InputError, match=f"{count} of 50 images cannot be held out"):
            splits.choose_names(NAMES, count)


def test_the_list_is_text_with_a_checksum(tmp_path):
    written = splits.write_list(tmp_path / "splits" / "test.txt", NAMES, 3, seed=4)
    lines = written.path.read_text().splitlines()
    assert lines[0] == "# Test images held out of the split train: 3 of 50, seed 4."
    digest = hashlib.sha256("".join(f"{name}\n" for name in lines[2:]).encode()).hexdigest()
    assert lines[1].endswith(digest) and lines[2:] == splits.choose_names(NAMES, 3, 4)
    assert splits.find_list(tmp_path) == written
    assert written.stems == {name.removesuffix(".jpg") for name in lines[2:]}
    with pytest.raises(InputError, match="already lists a test split"):
        splits.write_list(written.path, NAMES, 3)


def test_a_changed_list_is_refused(tmp_path):
    path = splits.write_list(tmp_path / "test.txt", NAMES, 5).path
    text = path.read_text()
    for damaged in (text.rsplit("\n", 2)[0] + "\n", text + "another.jpg\n"):
        path.write_text(damaged)
        with pytest.raises(InputError, match=r"test.txt: its \d names do not match its sha256"):
            splits.read_list(path)
    path.write_text("a.jpg\n")
    with pytest.raises(InputError, match="is not the list of a test split"):
        splits.read_list(path)
    with pytest.raises(InputError, match=r"missing.txt: cannot be read"):
        splits.find_list(tmp_path, tmp_path / "missing.txt")
    with pytest.raises(InputError, match="choose another file with --split-file"):
        splits.write_list(path / "below" / "test.txt", NAMES, 5)
    assert splits.find_list(tmp_path) is None


def test_train_goes_without_the_held_out_images_and_test_takes_them(data, caplog):
    everything = names(open_data.open_dataset(data, "train"))
    assert len(everything) == 6
    open_data.hold_out(data, 2)
    with caplog.at_level(logging.INFO):
        train, test = open_data.open_dataset(data, "train"), open_data.open_dataset(data, "test")
    assert names(test) == set(splits.choose_names(everything, 2))
    assert names(train) == everything - names(test)
    assert "split train: without the 2 images" in caplog.text
    assert f"split test: the 2 images listed in {splits.list_path(data)}" in caplog.text
    assert all(len(test.load_instances(i)) for i in test.image_ids)  # labelled
    assert len(names(open_data.open_dataset(data, "train", 3))) == 3
    assert not names(open_data.open_dataset(data, "train", 3)) & names(test)
    assert len(open_data.open_dataset(data, "val").image_ids) == 2


def test_hold_out_keeps_the_list_that_is_there(data):
    open_data.hold_out(data, 2)
    before = splits.list_path(data).read_text()
    open_data.hold_out(data, 2)
    open_data.hold_out(data, None)
    assert splits.list_path(data).read_text() == before
    with pytest.raises(InputError, match=r"--hold-out 3: .*test.txt already lists 2 images"):
        open_data.hold_out(data, 3)


def test_a_list_of_other_data_is_refused(data, tmp_path):
    other = splits.write_list(tmp_path / "test.txt", NAMES, 5).path
    with pytest.raises(InputError, match="5 of its 5 images are not among|not one labelled image"):
        open_data.open_dataset(data, "test", None, str(other))
    mixed = [*names(open_data.open_dataset(data, "train")), "gone.jpg"]
    seed = next(seed for seed in range(50) if "gone.jpg" in splits.choose_names(mixed, 6, seed))
    path = splits.write_list(tmp_path / "mixed.txt", mixed, 6, seed).path
    with pytest.raises(InputError, match="1 of its 6 images are not among the labelled images of train, such as gone"):
        open_data.open_dataset(data, "test", None, str(path))
