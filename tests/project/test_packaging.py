"""setup.py, requirements.txt, the Makefile and the README agree, and none names a machine."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = pathlib.Path(__file__).parent.parent.parent


def setup_arguments() -> dict:
    """Return the keyword arguments of setup(), read without running it. Of find_packages() it gives the patterns."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    constants = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func.id == "setup")

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return constants[node.id]
        if isinstance(node, ast.Call) and node.func.id == "find_packages":
            return {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        return ast.literal_eval(node)

    return {word.arg: value(word.value) for word in call.keywords}


def tracked_text_files() -> list[pathlib.Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    kinds = {".py", ".md", ".txt", ".ini", ".toml", ".ipynb", ""}
    return [ROOT / name for name in listed.stdout.splitlines() if pathlib.Path(name).suffix in kinds]


def imported_packages(folder: str) -> set[str]:
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found


def test_requirements_repeat_setup():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == setup_arguments()["install_requires"]


def installed_by_make() -> list[Requirement]:
    """Return what `make test` and `make lint` ask pip for, with the bounds of setup.py."""
    arguments = setup_arguments()
    return [Requirement(line) for line in arguments["install_requires"] + arguments["extras_require"]["dev"]]


def test_constraints_fix_what_make_installs():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    fixed = {}
    for requirement in (Requirement(line) for line in lines if line and not line.startswith("#")):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        fixed[canonicalize_name(requirement.name)] = Version(specifier.version)
    for requirement in installed_by_make():
        assert fixed[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("installed", [".venv/.installed", ".venv/.installed-dev"])
def test_make_installs_what_the_constraints_say(tmp_path, make, installed):
    for name in ("setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    assert "pip install --disable-pip-version-check -c constraints.txt -e " in make("-n", target=installed).stdout


def test_lowest_versions_are_the_bounds_of_setup(tmp_path, make):
    """`make test-lowest` installs each bound itself, and `.[dev]` asks for nothing without one."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    assert make(target=".venv/lowest.txt").returncode == 0
    lowest = (tmp_path / ".venv/lowest.txt").read_text().splitlines()
    assert lowest == [str(requirement).replace(">=", "==") for requirement in installed_by_make()]


def test_every_import_of_the_packages_is_required():
    """What mrcnn, bdd100k and scripts import comes from the standard library, from here, or from setup.py."""
    distribution_of = {"cv2": "opencv-python", "skimage": "scikit-image", "PIL": "pillow"}
    distribution_of |= {"faster_coco_eval": "faster-coco-eval", "yaml": "pyyaml"}
    arguments = setup_arguments()
    required = arguments["install_requires"] + [r for extra in arguments["extras_require"].values() for r in extra]
    names = {re.split(r"[\[<>=!~]", requirement)[0] for requirement in required}
    own = {"mrcnn", "bdd100k", "scripts"}
    given = own | set(sys.stdlib_module_names) | {"benchmarks"}  # the folder beside scripts/benchmark.py
    given |= {"IPython", "matplotlib_inline"}  # imported only where a notebook already runs
    for folder in sorted(own):
        for package in sorted(imported_packages(folder) - given):
            assert distribution_of.get(package, package) in names, f"{folder} imports {package}"


def test_packages_and_python_versions():
    arguments = setup_arguments()
    assert arguments["packages"] == {"include": ["mrcnn*", "bdd100k*"]}
    for path in (path for folder in ("mrcnn", "bdd100k") for path in (ROOT / folder).rglob("*.py")):
        assert (path.parent / "__init__.py").exists(), f"find_packages does not see {path.parent.relative_to(ROOT)}"
    for package, patterns in arguments["package_data"].items():
        assert all(list((ROOT / package.replace(".", "/")).glob(pattern)) for pattern in patterns), package
    assert arguments["python_requires"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


def test_ci_runs_the_commands_of_the_readme():
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()
    assert lines.index("make lint") < lines.index("make test") and script.stat().st_mode & 0o111
    assert re.search(r"^make test", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs the Makefile in an empty folder, without what an outer make left in the environment."""
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON", "PYTHONS", "VENV"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str, target: str = ".venv/.created") -> subprocess.CompletedProcess:
        command = ["make", "-f", str(ROOT / "Makefile"), target, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_make_names_the_python_it_needs(tmp_path, make, python):
    result = make(f"PYTHON={python}")
    assert result.returncode == 2 and not (tmp_path / ".venv").exists()
    assert "Python 3.11, 3.12 or 3.13 is needed" in result.stderr and python in result.stderr


def test_make_takes_the_first_suitable_python(tmp_path, monkeypatch, make):
    """A python3 of the wrong version is passed over; the next one makes the environment."""
    (tmp_path / "bin").mkdir()
    for name, body in (("python3", "exit 1"), ("python3.13", 'test "$1" = -c || { mkdir -p .venv; echo made "$@"; }')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    result = make()
    assert result.returncode == 0 and "made -m venv .venv" in result.stdout and (tmp_path / ".venv/.created").exists()


def test_make_uses_another_folder_for_the_environment(make):
    result = make("-n", "VENV=other", target="other/.created")
    assert result.returncode == 0 and "-m venv other &&" in result.stdout and ".venv" not in result.stdout


def test_no_file_names_a_registry_or_a_machine():
    suspicious = re.compile(r"index-url|find-links|pypi\.org|file://|(?<![\w.\])}])/(home|root|Users|tmp|work|mnt)/\w")
    for path in tracked_text_files():
        if path != pathlib.Path(__file__).resolve() and path.exists():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not suspicious.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
