import numpy as np
from beeagent_models.augmentation.pasting import paste
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bee_on_blue import bee_cutout


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_box_of_pasted_bee_is_its_visible_part_plus_5_percent(seed: int) -> None:
    cutout = bee_cutout()
    # Without shadows, light would be all that is left to change the background outside the box.
    background = np.full((128, 128, 3), 255, np.uint8)
    box = paste(np.random.default_rng(seed), background, cutout.pixels, center=(64, 64), size=50)
    assert box is not None
    # Beyond what is opaque, the box leaves 5 % for legs and antennae.
    middle = (box[:2] + box[2:]) / 2
    left, top, right, bottom = (
        np.concatenate([middle + (box[:2] - middle) / 1.05, middle + (box[2:] - middle) / 1.05]).round().astype(int)
    )
    assert 0 < left < right < 128
    assert 0 < top < bottom < 128
    inside = background[top:bottom, left:right].min(-1)
    # A brown bee is the darkest thing, whatever light it is pasted in, and it reaches from edge to edge.
    assert inside.min() < 180
    assert (inside.min(0) < 250).all()
    assert (inside.min(1) < 250).all()


def test_pasting_beyond_the_image_leaves_it_as_it_is() -> None:
    cutout = bee_cutout()
    background = np.full((64, 64, 3), 200, np.uint8)
    paste(np.random.default_rng(0), background, cutout.pixels, center=(500, 500), size=40)
    assert (background == 200).all()


def test_box_of_half_hidden_pasted_object_is_its_visible_part() -> None:
    cutout = bee_cutout()
    shares = []
    for seed in range(60):
        background = np.full((200, 200, 3), 255, np.uint8)
        pasted = paste(np.random.default_rng(seed), background, cutout.pixels, center=(100, 100), size=80)
        assert pasted is not None
        shares.append(float(np.prod(pasted[2:] - pasted[:2])) / 80**2)
    hidden = sum(share < 0.6 * max(shares) for share in shares)
    assert 3 <= hidden <= 40
