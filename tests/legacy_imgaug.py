"""imgaug 0.4.0 (2020) for tests on numpy 2, with the names that it reads at import restored."""

import pytest

from mrcnn.legacy.old_numpy import restore_numpy_names


def import_augmenters():
    """`imgaug.augmenters`; skips where imgaug is not installed."""
    restore_numpy_names()
    return pytest.importorskip("imgaug.augmenters")
