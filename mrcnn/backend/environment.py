"""Record what a result was computed with: versions of packages and backend, devices, and the revision of the source."""

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
import sys

PACKAGES = ("keras", "numpy", "opencv-python", "pycocotools", "h5py")


@dataclasses.dataclass
class Revision:
    """The commit of a checkout, and whether tracked files have changed since."""

    commit: str
    changed: bool


@dataclasses.dataclass
class Environment:
    """The software and hardware of this process; field names are the keys of environment.json.

    Attributes:
        python: Version of Python.
        platform: Operating system and processor type.
        cpus: Number of processors.
        backend, backend_version, precision, devices: Keras' backend, its version, the dtype policy and the names of its
            devices; None and [] if Keras is not loaded.
        packages: Installed package -> version.
        git: Revision of this source tree; None outside a checkout.
    """

    python: str
    platform: str
    cpus: int | None
    backend: str | None
    backend_version: str | None
    precision: str | None
    devices: list[str]
    packages: dict[str, str]
    git: Revision | None


def environment() -> Environment:
    """Return the environment of this process, without loading Keras for it."""
    backend, precision, devices = None, None, []
    if "keras" in sys.modules:
        import keras

        from mrcnn.backend import runtime

        backend, precision, devices = runtime.backend_name(), keras.config.dtype_policy().name, runtime.devices()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpus=os.cpu_count(),
        backend=backend,
        backend_version=_version(backend) if backend else None,
        precision=precision,
        devices=devices,
        packages={name: version for name in PACKAGES if (version := _version(name))},
        git=git_revision(__file__),
    )


def git_revision(file: str | os.PathLike) -> Revision | None:
    """Return the revision of the checkout that a source file belongs to.

    None if git is missing or does not track the file.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", os.path.basename(file))
        commit = _git(file, "rev-parse", "HEAD")
        return Revision(commit, bool(_git(file, "status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(file: str | os.PathLike, *arguments: str) -> str:
    folder = os.path.dirname(os.path.abspath(file))
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # tensorflow-cpu, for example, has another distribution name
        return getattr(sys.modules.get(package), "__version__", None)
