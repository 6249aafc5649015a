import numpy as np
import pytest
from beeagent_models.augmentation.light import _add_shadow, vary_camera, vary_light
from support.bee_on_blue import bee_on_blue


@pytest.mark.parametrize("vary", [vary_light, vary_camera])
def test_light_and_camera_change_values_and_nothing_else(vary: object) -> None:
    assert callable(vary)
    image = bee_on_blue()
    results = [vary(np.random.default_rng(seed), image.copy()) for seed in range(40)]
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    assert sum(not np.array_equal(result, image) for result in results) > 15
    np.testing.assert_array_equal(vary(np.random.default_rng(3), image.copy()), results[3])


def test_a_shadow_darkens_one_side_of_a_straight_edge_and_leaves_the_other() -> None:
    white = np.full((64, 64, 3), 200, np.uint8)
    for seed in range(20):
        shaded = _add_shadow(np.random.default_rng(seed), white)
        assert shaded.max() == 200
        assert 60 <= shaded.min() <= 150
