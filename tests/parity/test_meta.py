"""Image meta and the mean pixel against the original's numbers."""

import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import compose_image_meta, mold_image, parse_image_meta, parse_image_meta_graph, unmold_image


def test_compose_and_parse(golden):
    figures, dtypes = golden.npz("utils_meta"), golden.json("utils_meta")["parsed_dtypes"]
    meta = figures["meta"]
    composed = compose_image_meta(7, (720, 1280, 3), (1024, 1024, 3), (224, 0, 800, 1024), 0.8, meta[12:].astype(int))
    np.testing.assert_array_equal(composed, meta)
    assert composed.dtype == np.float64
    parsed = parse_image_meta(np.stack([meta, meta + 1]))
    graph = parse_image_meta_graph(np.stack([meta, meta + 1]))
    assert set(parsed) == set(graph) == set(dtypes)
    for name, dtype in dtypes.items():
        np.testing.assert_array_equal(parsed[name], figures[f"parsed/{name}"])
        assert parsed[name].dtype == dtype
        np.testing.assert_allclose(graph[name], figures[f"parsed/{name}"], rtol=1e-6)


def test_scale_survives_whole_numbers():
    """The original's meta is int64 where an image was not resized, and the batch then takes that type."""
    assert compose_image_meta(0, (8, 8, 3), (8, 8, 3), (0, 0, 8, 8), 1, [1, 1]).dtype == np.float64


def test_mold_and_unmold(golden):
    figures, config = golden.npz("utils_meta"), Config()
    molded = mold_image(figures["image"], config)
    np.testing.assert_array_equal(molded, figures["molded"])
    np.testing.assert_array_equal(unmold_image(molded, config), figures["unmolded"])
    np.testing.assert_array_equal(unmold_image(molded.astype(np.float32), config), figures["unmolded_from_float32"])
