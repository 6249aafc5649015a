from pathlib import Path

import numpy as np
import pytest
from beeagent_models.augmentation.store import PHOTOGRAPH, SCENE, ImageStore, StoredImage, halve, write_store


def test_store_returns_written_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 301, 3), np.uint8)
    boxes = np.array([[1, 2, 30.5, 40]], np.float32)
    stored = [StoredImage(image, boxes, np.array([3]), boxes + 1, PHOTOGRAPH, source) for source in (0, 1, 0)]
    write_store(tmp_path, [*stored, StoredImage(image, boxes, np.array([3]), boxes + 1, SCENE)])
    store = ImageStore(tmp_path)
    assert store.sources(PHOTOGRAPH) == {0: [0, 2], 1: [1]}
    assert store.sources(SCENE) == {-1: [3]}
    np.testing.assert_array_equal(store.pixels(1), image)
    np.testing.assert_array_equal(store.boxes(1), boxes)
    np.testing.assert_array_equal(store.ignored(1), boxes + 1)
    assert store.class_ids(1).tolist() == [3]
    half, scale = store.shrunk(1, 0.4)
    assert scale == 0.5
    np.testing.assert_array_equal(half, halve(image))
    assert store.shrunk(1, 0.6)[1] == 1
    with pytest.raises(ValueError, match="read-only"):
        store.pixels(0)[0] = 0
