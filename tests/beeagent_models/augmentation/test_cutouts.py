import math

import numpy as np
import pytest
from bee_on_blue import bee_on_blue
from beeagent_models.augmentation.cutouts import blue_background_opacity, cut_out


def test_blue_is_background_and_brown_is_object() -> None:
    opacity = blue_background_opacity(bee_on_blue())
    assert opacity[60, 80] == 1
    assert opacity[5, 5] == 0


@pytest.mark.parametrize("light", [0.25, 0.5, 1.0])
def test_a_bee_is_cut_out_along_its_outline_in_any_light(light: float) -> None:
    image = (bee_on_blue() * light).astype(np.uint8)
    (cutout,) = cut_out(image, np.array([[45, 40, 115, 80]], np.float32), np.array([7]))
    opaque = cutout.pixels[..., 3] > 128
    assert cutout.class_id == 7
    assert opaque.sum() == pytest.approx(math.pi * 26 * 12, rel=0.08)
    assert not opaque[:3].any()


def test_a_bee_cut_by_its_box_or_the_edge_is_not_cut_out() -> None:
    image = bee_on_blue()
    assert not list(cut_out(image, np.array([[70, 50, 90, 70]], np.float32), np.array([0])))
    assert not list(cut_out(image, np.array([[0, 0, 159, 119]], np.float32), np.array([0])))
