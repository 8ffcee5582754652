"""Installs the packages mrcnn and bdd100k: pip install -e ."""

from setuptools import find_packages, setup

# Lower bounds are the oldest releases with which the tests pass (make test-lowest), so that an installation leaves what
# is there in place where it serves. constraints.txt has the versions that make installs. requirements.txt repeats this
# list for pip install -r.
RUNTIME = [
    "tensorflow>=2.19",
    "keras>=3.13",
    "numpy>=2",
    "scipy>=1.14",
    "scikit-image>=0.25",
    "opencv-python>=4.11.0.86",  # not the headless build: imgaug requires this one, and both fill one folder
    "pillow>=11",
    "matplotlib>=3.10",
    "pycocotools>=2.0.8",
    "imgaug>=0.4",
    "h5py>=3.12.1",
    "jinja2>=3.1",
    "markupsafe>=2.1",
    "rich>=14",
    "tensorboardX>=2.6.2.2",
    "pyyaml>=6.0.1",
]

setup(
    name="mask-rcnn-bdd100k",
    version="0.1.0",
    description="Mask R-CNN for Keras 3 with matterport/Mask_RCNN's API and weight files, and BDD100K on top",
    license="MIT",
    packages=find_packages(include=["mrcnn*", "bdd100k*"]),
    package_data={"bdd100k.report": ["templates/*"]},
    python_requires=">=3.11,<3.14",
    install_requires=RUNTIME,
    extras_require={
        "jax": ["jax>=0.5"],
        "torch": ["torch>=2.5"],
        "benchmark": ["torch>=2.5", "torchvision>=0.20"],  # scripts/benchmark.py --against torchvision
        # scripts/train.py --engine ray; without "default" Ray Train warns every second that it cannot ask for states
        "ray": ["ray[default,train]>=2.50"],
        # xdist: the tests run in two processes; jax: on a second backend
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.6.1",
            "hypothesis>=6.100",
            "nbmake>=1.5",
            "ruff>=0.15",
            "mypy>=1.15",
            "types-PyYAML>=6.0.12.20240311",
            "jax>=0.5",
        ],
    },
)
