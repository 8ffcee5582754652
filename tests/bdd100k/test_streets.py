"""The drawn street scenes: reproducible, labelled exactly, distributed like BDD100K, written in its layout."""

import collections
import hashlib
import json
import math
import random

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.load import load_labels
from bdd100k.streets import scenes as street_scenes
from bdd100k.streets.bodies import CARS
from bdd100k.streets.canvas import HEIGHT, WIDTH, Canvas, Look, Parts
from bdd100k.streets.layout import painting_order
from bdd100k.streets.pose import Pose, Thing
from bdd100k.streets.scenes import draw_scene, mask_to_paths, write_streets
from bdd100k.streets.vehicles import bus, car
from mrcnn.annotations.object_masks import object_mask
from mrcnn.errors import InputError


@pytest.fixture(scope="module")
def scenes() -> list[street_scenes.Scene]:
    return [draw_scene(0, index) for index in range(48)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return write_streets(tmp_path_factory.mktemp("streets"), train=3, val=2, test=1, seed=4)


def full_mask(item: street_scenes.SceneObject) -> np.ndarray:
    y1, x1, y2, x2 = item.box_px
    full = np.zeros((HEIGHT, WIDTH), bool)
    full[y1:y2, x1:x2] = item.mask
    return full


def pixels_inside(paths: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Count by brute force: a pixel is inside if the ray to the right of its centre crosses the path an odd number of
    times.
    """
    y, x = np.mgrid[:height, :width] + 0.5
    union = np.zeros((height, width), bool)
    for path in paths:
        odd = np.zeros((height, width), bool)
        for (xa, ya), (xb, yb) in zip(path, np.roll(path, -1, axis=0), strict=True):
            if ya != yb:
                crosses = (ya > y) != (yb > y)
                odd ^= crosses & (x < (xb - xa) * (y - ya) / (yb - ya) + xa)
        union |= odd
    return union


# Scene of seed 0 -> SHA-256 of its pixels, before they become a JPEG, and of its labels. The six show all classes,
# rain, snow and fog, day and night. Checked with OpenCV 4.11 and 5.0, with and without AVX: the hashes are the same.
FROZEN = {
    1: "c11158664ff3ca432c490271034fceb94814b48f67e08c12123f822558d3ee86",  # city at night, trams
    8: "1b3964e84d75430057675c26155396349264b58083cc0b5add77b7f8e1ab7eb1",  # rain
    13: "05e07f98d1e1f01b59104604ea55231019d51eb1c01c65f1802c474bde555b6a",  # residential street
    19: "1db0524efdda51a4bbb8aa52b0d8e4ae65862d2a689d39eb3d069b1118cf9ace",  # snow at night
    28: "5ba7a5c7ac14edc56522f340158e583ab2b62f9bcd14854186bb312bc8901bd8",  # highway
    37: "06c97de6a51a34125acd220bc0d3994aae853c1a9ed2ad636f3c21ad66a8196a",  # fog at night, all two-wheelers
}


# Drawing -------------------------------------------------------------------------------------------------------------


def test_scene_depends_on_seed_and_index_only(scenes: list[street_scenes.Scene]) -> None:
    again = draw_scene(0, 5)
    np.testing.assert_array_equal(again.image, scenes[5].image)
    assert [(o.category, o.box_px, o.occluded, o.truncated) for o in again.objects] == [
        (o.category, o.box_px, o.occluded, o.truncated) for o in scenes[5].objects
    ]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again.objects, scenes[5].objects, strict=True))
    assert again.attributes == scenes[5].attributes
    for other in (draw_scene(0, 6), draw_scene(1, 5)):
        assert np.mean(other.image != again.image) > 0.5


@pytest.mark.parametrize("index", FROZEN)
def test_the_painter_is_frozen(index: int, scenes: list[street_scenes.Scene]) -> None:
    """A change of these images invalidates the figures of the shipped weights, which were trained on such scenes.

    After a deliberate change, increase VERSION, train new weights and publish their figures.
    """
    digest = hashlib.sha256(scenes[index].image.tobytes())
    for item in scenes[index].objects:
        digest.update(f"{item.category} {item.box_px} {item.occluded} {item.truncated}".encode())
        digest.update(item.mask.tobytes())
    assert digest.hexdigest() == FROZEN[index]


def test_scenes_have_bdd100k_proportions(scenes: list[street_scenes.Scene]) -> None:
    """Figures are close to BDD100K's: 17.8 objects per image, more than half cars, then pedestrians, trains rarest."""
    count = collections.Counter(item.category for scene in scenes for item in scene.objects)
    total = sum(count.values())
    assert set(count) == set(CLASS_NAMES)
    assert 15 < total / len(scenes) < 20
    assert 0.5 < count["car"] / total < 0.7
    assert [name for name, _ in count.most_common(3)] == ["car", "pedestrian", "truck"]
    assert min(count, key=lambda name: count[name]) == "train"
    heights = [item.box_px[2] - item.box_px[0] for scene in scenes for item in scene.objects]
    assert 45 <= np.median(heights) <= 75
    assert {scene.attributes["timeofday"] for scene in scenes} == {"daytime", "night", "dawn/dusk"}
    weathers = {scene.attributes["weather"] for scene in scenes}
    assert weathers == {"clear", "overcast", "partly cloudy", "rainy", "snowy", "foggy"}


def test_masks_are_tight_disjoint_and_above_the_thresholds(scenes: list[street_scenes.Scene]) -> None:
    for scene in scenes[:6]:
        owners = np.zeros((HEIGHT, WIDTH), int)
        for item in scene.objects:
            rows, columns = np.where(full_mask(item))
            assert item.box_px == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
            assert rows.max() + 1 - rows.min() >= street_scenes.MIN_HEIGHT_PX
            assert len(rows) >= street_scenes.MIN_AREA_PX
            owners += full_mask(item)
        assert owners.max() <= 1


def test_objects_differ_from_what_lies_beside_them(scenes: list[street_scenes.Scene]) -> None:
    """The masks lie where the objects were painted: colours change across their outline, not 12 pixels away from it."""
    across, away = [], []
    for scene in scenes[:25]:
        if scene.attributes["timeofday"] != "daytime":
            continue
        grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(float)
        step = np.abs(grey[:, 2:] - grey[:, :-2])
        for item in scene.objects:
            full = full_mask(item)
            edge = (full[:, 2:] != full[:, :-2]) & (full[:, 1:-1] != full[:, 2:])
            shifted = np.roll(edge, 12, axis=0)
            across.append(step[edge].mean() if edge.any() else 0.0)
            away.append(step[shifted].mean() if shifted.any() else 0.0)
    assert np.mean(across) > 2 * np.mean(away)


def test_car_has_the_size_of_a_pinhole_image() -> None:
    """A car straight ahead, seen from behind: height and width follow from focal length and distance."""
    look = Look("clear", "highway", "daytime", 1.0, (1, 1, 1), (200, 200, 200), 0.0, 0.0)
    for trial in range(6):
        rng = random.Random(trial)
        canvas = Canvas(rng, look)
        canvas.centre = WIDTH / 2
        thing = car(rng, Pose(0.0, 22.0, 0.0, canvas.height))
        canvas.paint(thing.layers[0][1], 22.0, 1)
        rows, columns = np.where(canvas.ids == 1)
        rear = thing.z1  # the tyres touch the ground and the bumper is widest here
        body = min(CARS.values(), key=lambda b: abs(b.length - (thing.z2 - thing.z1)))
        assert np.ptp(columns) == pytest.approx(canvas.focal * body.width / rear, abs=3)
        assert columns.mean() == pytest.approx(WIDTH / 2, abs=2)
        ground = canvas.horizon + canvas.focal * canvas.height / (rear + body.wheels[0] - 0.7 * body.wheel)
        assert rows.max() == pytest.approx(ground, abs=2)
        roof = canvas.focal * (canvas.height - body.height) / (rear + 1.5)
        assert rows.min() == pytest.approx(canvas.horizon + roof, abs=5)


def test_side_view_is_as_long_as_the_vehicle() -> None:
    look = Look("clear", "highway", "daytime", 1.0, (1, 1, 1), (200, 200, 200), 0.0, 0.0)
    canvas = Canvas(random.Random(1), look)
    thing = bus(random.Random(2), Pose(0.0, 30.0, math.pi / 2, canvas.height))
    canvas.paint(thing.layers[0][1], 30.0, 7)
    _, columns = np.where(canvas.ids == 7)
    near = thing.z1  # the side that faces the camera
    assert np.ptp(columns) == pytest.approx(canvas.focal * (thing.x2 - thing.x1) / near, rel=0.02)


def test_painting_order_hides_what_is_behind() -> None:
    """Seen from above: B is ahead of A; D is beside C but nearer to the camera's line; E crosses the road far away."""
    places = {
        "a": (-1, 1, 10, 14),
        "b": (-1, 1, 16, 20),
        "c": (4, 6, 8, 20),
        "d": (2, 3.5, 9, 12),
        "e": (-9, 9, 40, 43),
        "f": (-6, -4, 8, 30),
        "g": (-3.5, -1.5, 12, 25),
    }
    things = [Thing(*place, layers=[(name, Parts())]) for name, place in places.items()]
    order = "".join(str(thing.layers[0][0]) for thing in painting_order(things))
    assert order.index("e") == 0
    for behind, before in ("ba", "cd", "fg", "ga", "gb"):
        assert order.index(behind) < order.index(before), order


def test_visible_fraction_decides_on_labels_and_flags() -> None:
    """In a hand-made id map, an object hidden by half is occluded, and one that is 10 % visible is not labelled."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[100:120, 200:230] = 1
    ids[300:320, 200:210] = 2
    ids[500:520, 200:205] = 3
    ids[600:611, 200:260] = 4  # 11 pixels high
    window = (slice(50, 700), slice(150, 400))
    drawn = [
        street_scenes._Drawn("car", window, 600, True),
        street_scenes._Drawn("bus", window, 400, False),
        street_scenes._Drawn("truck", window, 1000, False),
        street_scenes._Drawn("car", window, 660, False),
    ]
    found = street_scenes._visible(ids, drawn)
    assert [(o.category, o.box_px, o.occluded, o.truncated) for o in found] == [
        ("car", (100, 200, 120, 230), False, True),
        ("bus", (300, 200, 320, 210), True, False),
    ]
    assert found[1].mask.all()


def test_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed -1"):
        draw_scene(-1, 0)


# Labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        ["#"],
        ["##", "#."],
        ["#.", ".#"],
        ["####", "#..#", "####"],
        ["#####", "#.#.#", "#####", "#...#", "#####"],
        ["..#..", ".###.", "#####", ".###.", "..#.."],
        ["##..#", ".#..#", ".####", "#....", "##.##"],
    ],
)
def test_paths_enclose_exactly_the_pixels(rows: list[str]) -> None:
    mask = np.array([[character == "#" for character in row] for row in rows])
    paths = mask_to_paths(mask, offset=(3, 2))
    expected = np.pad(mask, ((2, 4), (3, 4)))
    np.testing.assert_array_equal(pixels_inside(paths, *expected.shape), expected)


def test_path_of_one_rectangle_by_hand() -> None:
    """2 rows x 3 columns at (10, 20): the path runs along the outer edges of the pixels, not through their centres."""
    (path,) = mask_to_paths(np.ones((2, 3), bool), (10, 20))
    assert path.min(axis=0).tolist() == [10.0, 20.0]
    assert path.max(axis=0).tolist() == [13.0, 22.0]


def test_polygons_and_run_lengths_give_the_masks_back(scenes: list[street_scenes.Scene]) -> None:
    checked = 0
    for scene in scenes[:4]:
        polygons, rles = street_scenes._frame("x.jpg", scene)
        for item, shape, runs in zip(scene.objects, polygons["labels"], rles["labels"], strict=True):
            full = full_mask(item)
            np.testing.assert_array_equal(coco.decode(runs["rle"]).astype(bool), full)
            paths = [np.array(path["vertices"]) for path in shape["poly2d"]]
            flat = [path.ravel().tolist() for path in paths]
            filled = coco.decode(coco.merge(coco.frPyObjects(flat, HEIGHT, WIDTH))).astype(bool)
            assert (filled & full).sum() / (filled | full).sum() >= 0.97
            if checked < 12:  # the slow, independent rasteriser
                y1, x1, y2, x2 = item.box_px
                crop = pixels_inside([path - (x1, y1) for path in paths], y2 - y1, x2 - x1)
                np.testing.assert_array_equal(crop, item.mask)
            box = shape["box2d"]  # Scalabel: width = x2 - x1 + 1
            assert (box["x2"] - box["x1"] + 1, box["y2"] - box["y1"] + 1) == item.mask.shape[::-1]
            assert all(len(path["types"]) == len(path["vertices"]) and path["closed"] for path in shape["poly2d"])
            checked += 1
    assert checked > 30


# Files ---------------------------------------------------------------------------------------------------------------


def test_official_layout(folder) -> None:
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        names = sorted(path.name for path in (folder / "images/10k" / split).iterdir())
        assert len(names) == count
        for kind, key in (("polygons", "poly2d"), ("rles", "rle")):
            text = (folder / f"labels/ins_seg/{kind}/ins_seg_{split}.json").read_text()
            assert '", "' not in text and '": ' not in text  # no spaces: labels with polygons are long
            frames = json.loads(text)
            assert sorted(frame["name"] for frame in frames) == names
            assert all(key in label for frame in frames for label in frame["labels"])
        for index, name in enumerate(names):
            image = cv2.imread(str(folder / "images/10k" / split / name))[..., ::-1]
            drawn = draw_scene(4, street_scenes.SPLITS.index(split) * street_scenes._SPLIT_STRIDE + index).image
            assert np.abs(image.astype(int) - drawn).mean() < 6  # JPEG
    assert not list(folder.rglob("*.tmp"))


def test_splits_share_no_scene(folder) -> None:
    paths = list((folder / "images").rglob("*.jpg"))
    names, contents = [path.name for path in paths], [path.read_bytes() for path in paths]
    assert sorted(set(names)) == sorted(names) and sorted(set(contents)) == sorted(contents)


def test_own_label_reader_agrees(folder) -> None:
    """`load_labels` reads the same objects from both files."""
    shapes = load_labels(folder / "labels/ins_seg/polygons/ins_seg_train.json")
    runs = load_labels(folder / "labels/ins_seg/rles/ins_seg_train.json")
    for first, second in zip(shapes.images, runs.images, strict=True):
        assert first.name == second.name and first.objects
        for a, b in zip(first.objects, second.objects, strict=True):
            assert (a.name, a.occluded, a.truncated) == (b.name, b.occluded, b.truncated)
            (box_a, crop_a), (box_b, crop_b) = object_mask(a, (HEIGHT, WIDTH)), object_mask(b, (HEIGHT, WIDTH))
            assert np.abs(np.array(box_a) - box_b).max() <= 1
            assert abs(int(crop_a.sum()) - int(crop_b.sum())) <= 0.03 * crop_b.sum()


def test_same_request_draws_nothing_again(folder) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert write_streets(folder, train=3, val=2, test=1, seed=4) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("other", [{"train": 4}, {"seed": 5}, {"test": 0}])
def test_another_request_is_refused(folder, other: dict) -> None:
    with pytest.raises(InputError, match="contains other drawn scenes"):
        write_streets(folder, **{"train": 3, "val": 2, "test": 1, "seed": 4, **other})


def test_unfinished_folder_is_completed(tmp_path) -> None:
    write_streets(tmp_path, train=1, val=0, seed=9)
    labels = tmp_path / "labels/ins_seg/rles/ins_seg_train.json"
    expected = labels.read_bytes()
    labels.unlink()
    (tmp_path / "streets.json").rename(tmp_path / "streets.partial.json")
    write_streets(tmp_path, train=1, val=0, seed=9)
    assert labels.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels", "streets.json"]


def test_foreign_folder_and_bad_numbers_are_refused(tmp_path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="not a folder of drawn scenes"):
        write_streets(tmp_path, train=1, val=0)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    for bad in ({"train": -1, "val": 1}, {"train": 0, "val": 0}, {"train": 1, "val": 0, "workers": 0}):
        with pytest.raises(InputError, match="Cannot draw"):
            write_streets(tmp_path / "new", **bad)
    (tmp_path / "streets.json").write_text("{")
    with pytest.raises(InputError, match="streets.json: broken JSON at line 1, column 2.*choose another folder"):
        write_streets(tmp_path, train=1, val=0)


def test_workers_write_the_same_files(folder, tmp_path) -> None:
    write_streets(tmp_path, train=3, val=2, test=1, seed=4, workers=2)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
