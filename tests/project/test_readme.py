"""What README, docs/ and weights/ show works: every block is run as it stands, or listed here with the reason why not.

The blocks run in order in one folder, as a reader would type them; see tests/documents.py for what is made small.
"""

import contextlib
import hashlib
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests import documents
from tests.documents import ROOT, Block, Runner, blocks

README = (ROOT / "README.md").read_text()
TEXTS = {name: (ROOT / name).read_text() for name in documents.documents()}
ALL = [block for name in TEXTS for block in blocks(name)]
OTHER_MACHINES = "needs other machines; its options are parsed, "


def parsed(runner: Runner, words: list[str]) -> None:
    runner.parse(words)


def planned(runner: Runner, words: list[str]) -> None:
    """What make would do; the demo itself runs in test_demo."""
    assert words[0] == "make" and len(words) == 2
    said = documents.make(words[1])
    wanted = {
        "demo": ["scripts/demo.py"],
        "test": ["KERAS_BACKEND=tensorflow", "KERAS_BACKEND=jax", "-m pytest"],
        "lint": ["ruff check", "ruff format --check", "mypy"],
    }
    assert all(part in said for part in wanted[words[1]])
    assert words[1] == "lint" or not any(tool in said for tool in wanted["lint"])


def installing(runner: Runner, words: list[str]) -> None:
    """The versions present are written to the file that pip is then given."""
    assert words[1:] == ["install", "-c", "present.txt", "-e", "."] or words[-2:] == [">", "present.txt"]


def made_by_make(runner: Runner, words: list[str]) -> None:
    made = "VENV := .venv\n" in (ROOT / "Makefile").read_text()
    assert words == ["source", ".venv/bin/activate"] and made


def executed(runner: Runner, words: list[str]) -> None:
    exec(words[2], {})


# what is not run: a pattern, why, and what is looked at instead
NOT_RUN = [
    (r"make ", "installs packages and takes minutes", planned),
    (r"pip ", "installs packages", installing),
    (r"python -c ", "is no script; its code is run in this process", executed),
    (r"source ", "there need not be an environment here", made_by_make),
    (r".* --hosts ", OTHER_MACHINES + "and tests/backend/test_distribution.py trains on two hosts", parsed),
    (r".* --engine ray", OTHER_MACHINES + "and tests/bdd100k/test_on_ray.py has what can be tested here", parsed),
    (r"python scripts/benchmark\.py ", "measures for minutes; its options are parsed", parsed),
]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    place = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            documents.make_small(monkeypatch, place)
            documents.lay_out(place)
            yield Runner(place, monkeypatch)
        finally:
            documents.make_large_again()


@pytest.mark.slow
@pytest.mark.parametrize("block", ALL, ids=str)
def test_block(runner, block: Block):
    if block.language == "text":
        command = r"^(python3?|make|pip|source|cd|git) "
        assert not re.search(command, block.text, re.MULTILINE), "commands stand in blocks without a language"
        return
    if block.language == "python":
        from bdd100k.detector import PublishedConfig

        runner.code(block, config=PublishedConfig())
        return
    assert block.language == "", "commands stand in blocks without a language, others are python or text"
    for words in block.commands():
        check = next((check for pattern, _, check in NOT_RUN if re.match(pattern, shlex.join(words))), None)
        check(runner, words) if check else runner.run(words)


@pytest.mark.slow
def test_code_of_the_readme_did_something(runner):
    """The class for leaves gives the masks of the pictures, and the model was trained on them."""
    if "README.md" not in runner.names:  # this test was asked for alone
        for block in blocks("README.md"):
            if block.language == "python":
                test_block(runner, block)
    names = runner.names["README.md"]
    assert names["model"].epoch == 2 and names["train"].class_names == ["BG", "leaf"]
    labels = documents.write_plant(runner.place / "again")
    with contextlib.chdir(runner.place):
        instances = names["train"].load_instances(0)
    assert instances.boxes_px.tolist() == [[10, 20, 30, 50], [40, 0, 60, 80]]
    masks = instances.to_masks((60, 80))
    np.testing.assert_array_equal(masks[..., 0], labels == 1)
    np.testing.assert_array_equal(masks[..., 1], labels == 9)


@pytest.mark.slow
def test_demo(runner, monkeypatch, capsys):
    """`make demo` at a small size: each of its steps, and the figure at its end."""
    monkeypatch.setattr(subprocess, "run", runner.process)
    sizes = ["--train", "2", "--val", "2", "--heads-steps", "1", "--all-steps", "1"]
    assert runner.script(["python", "scripts/demo.py", *sizes]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^demo: mask mAP@0\.5 \d\.\d\d in \d+ s, report runs/demo/report$", printed, re.MULTILINE)
    assert (runner.place / "runs/demo/report/report.html").exists()


def shown_options() -> dict[tuple[str, ...], set[str]]:
    """(script, or script and benchmark) -> the options that the documents show on a line with it."""
    shown: dict[tuple[str, ...], set[str]] = {}
    for line in "\n".join(TEXTS.values()).splitlines():
        for script, word, rest in re.findall(r"(scripts/\w+\.py)(?: ([a-z]+)\b(?!\.))?(.*)", line):
            key = (script, word) if word and "benchmark" in script else (script,)
            shown.setdefault(key, set()).update(re.findall(r"--[a-z-]+", rest))
    return shown


@pytest.mark.parametrize("command", sorted(shown_options()), ids=" ".join)
def test_scripts_know_the_options_shown(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*command, "--help"])
    monkeypatch.syspath_prepend(ROOT / "scripts")  # as Python does
    main = runpy.run_path(str(ROOT / command[0]))["main"]
    with contextlib.suppress(SystemExit):
        main()
    assert shown_options()[command] <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target


def test_files_named_exist():
    for name in re.findall(r"`((?:mrcnn|bdd100k|scripts|weights|tests|docs)/[\w./]*|Makefile|LICENSE)`", README):
        assert (ROOT / name).exists(), name
    (scripts,) = re.findall(r"^scripts/ +(.*?) and (?:.*?)$", README, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"[a-z_]+\.py", scripts):
        assert (ROOT / "scripts" / name).exists(), name
    (parts,) = re.findall(r"^mrcnn/ +(.*?)(?=^\w+/)", README, re.MULTILINE | re.DOTALL)
    wings, faces = re.sub(r"\([^)]*\)", "", parts).split(" and Matterport's modules: ")
    for name in re.findall(r"[a-z_]+", wings.split("Mask R-CNN.")[1]):
        assert (ROOT / "mrcnn" / name / "__init__.py").exists(), name
    for name in re.findall(r"[a-z_]+", faces):
        assert (ROOT / "mrcnn" / f"{name}.py").exists(), name


def test_extras_named_exist():
    known = set(re.findall(r'^        "(\w+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE))
    named = {extra for text in TEXTS.values() for extra in re.findall(r"'\.\[(\w+)\]'", text)}
    assert named and named <= known


def test_picture_is_small():
    (picture,) = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert (ROOT / picture).stat().st_size < 200_000


def test_every_shipped_weight_file_has_a_card():
    listed = subprocess.run(["git", "ls-files", "weights"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for path in [ROOT / name for name in listed if name.endswith(".h5")] or (ROOT / "weights").glob("streets_*.h5"):
        check_card(path, path.with_suffix(".md").read_text())


def check_card(path: pathlib.Path, card: str) -> None:
    """Size, hash and number of values are those of the file."""
    sizes: list[int] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    assert f"{sum(sizes):,} numbers" in card and f"{path.stat().st_size:,} bytes" in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
