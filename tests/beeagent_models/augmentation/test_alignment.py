"""Augmentation keeps boxes on their objects, within a tenth of a pixel.

Objects are drawn with soft edges, so that resampling loses nothing; their edges are measured by moments of the
intensities. Along x, a uniform rectangle has a third of the square of half its width as variance; a uniform ellipse,
however rotated, a quarter of the square of half its extent.
"""

import math

import cv2
import numpy as np
import pytest
from beeagent_models.augmentation import composer as composer_module
from beeagent_models.augmentation.composer import Composer, Mix, Sizes
from beeagent_models.augmentation.geometry import Crop, affine_matrix, warp
from beeagent_models.augmentation.store import SCENE, ImageStore, StoredImage, write_store
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

TOLERANCE = 0.1
# Of the Gaussian that softens edges, in pixels of the drawn image; and how far it reaches.
SOFTNESS, REACH = 6.0, 4.0
HEIGHT, WIDTH = 401, 483
# Square of half the extent, over the variance.
RECTANGLE, DISC = 3, 4
BOXES = {
    RECTANGLE: np.array([[190.3, 160.75, 281.6, 229.4]], np.float32),
    DISC: np.array([[191.5, 150.25, 281.75, 240.5]], np.float32),
}
FINE = 16  # the object is drawn this much larger, then averaged


def drawn(shape: int) -> NDArray[np.uint8]:
    left, top, right, bottom = BOXES[shape][0]
    xs = (np.arange(WIDTH * FINE, dtype=np.float32) + 0.5) / FINE
    ys = (np.arange(HEIGHT * FINE, dtype=np.float32) + 0.5) / FINE
    across, down = (xs - (left + right) / 2) / ((right - left) / 2), (ys - (top + bottom) / 2) / ((bottom - top) / 2)
    if shape == RECTANGLE:
        covered = np.outer(_averaged(abs(down) <= 1), _averaged(abs(across) <= 1))
    else:
        half = np.sqrt(np.clip(1 - down**2, 0, None))
        rows = [_averaged(abs(across) <= width).astype(np.float32) for width in half]
        covered = np.stack(rows).reshape(HEIGHT, FINE, WIDTH).mean(1)
    soft = cv2.GaussianBlur(covered.astype(np.float64) * 255, (0, 0), SOFTNESS)
    return np.repeat(np.round(soft).astype(np.uint8)[..., None], 3, axis=2)


def _averaged(fine: NDArray[np.bool_]) -> NDArray[np.float64]:
    return fine.reshape(-1, FINE).mean(1)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, ImageStore]:
    found = {}
    for shape, box in BOXES.items():
        folder = tmp_path_factory.mktemp("store")
        write_store(folder, [StoredImage(drawn(shape), box, np.array([0]), np.zeros((0, 4), np.float32), SCENE)])
        found[shape] = ImageStore(folder)
    return found


@pytest.fixture(autouse=True)
def _black_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the object is bright, and nothing changes its light."""

    def black(*arguments: object, fill: object, **options: object) -> NDArray[np.uint8]:  # noqa: ARG001 - replaced
        return warp(*arguments, fill=(0, 0, 0), **options)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(composer_module, "warp", black)
    monkeypatch.setattr(composer_module, "vary_light", lambda _rng, pixels: pixels)


def composer_of(store: ImageStore) -> Composer:
    return Composer(store, Mix(weights=(), synthetic=1.0, pasted=0.0, sizes=Sizes()))


def assert_aligned(
    pixels: NDArray[np.uint8], box: NDArray[np.float32], shape: int, scales: NDArray[np.float64] | None = None
) -> bool:
    """Compare a box with the edges of the object near it; False if the object does not show as a whole.

    The softness shows in proportion to the object; the levels of the store and resampling add a little of their own.
    """
    height, width = pixels.shape[:2]
    if scales is None:
        scales = (box[2:] - box[:2]) / (BOXES[shape][0, 2:] - BOXES[shape][0, :2])
    reach = np.ceil(REACH * SOFTNESS * scales.max() + 2)
    low, high = np.floor(box[:2] - reach).astype(int), np.ceil(box[2:] + reach).astype(int)
    if low.min() < 0 or high[0] > width or high[1] > height:
        return False
    window = pixels[low[1] : high[1], low[0] : high[0], 0].astype(np.float64)
    level = min(3, max(0, math.floor(-math.log2(math.sqrt(scales.prod())) + 1e-6)))
    for axis in (0, 1):
        profile = window.sum(axis)
        places = low[axis] + np.arange(len(profile)) + 0.5
        middle = (profile * places).sum() / profile.sum()
        variance = (profile * (places - middle) ** 2).sum() / profile.sum()
        variance -= scales[axis] ** 2 * (SOFTNESS**2 + (4**level - 1) / 12 + 4**level / 6)
        half = math.sqrt(shape * variance)
        np.testing.assert_allclose(box[[axis, axis + 2]], [middle - half, middle + half], atol=TOLERANCE)
    return True


@settings(deadline=None, max_examples=100)
@given(
    scale=st.floats(0.15, 2.0),
    stretch=st.floats(0.85, 1.18),
    quarters=st.integers(0, 3),
    mirror=st.booleans(),
    target=st.tuples(st.floats(300, 340), st.floats(300, 340)),
)
def test_boxes_follow_scaling_shift_mirroring_and_quarter_turns(  # noqa: PLR0913, PLR0917 - a map's
    stores: dict[int, ImageStore],
    scale: float,
    stretch: float,
    quarters: int,
    mirror: bool,  # noqa: FBT001 - given by hypothesis
    target: tuple[float, float],
) -> None:
    matrix = affine_matrix(
        scale_x=scale * stretch,
        scale_y=scale / stretch,
        angle=quarters * math.pi / 2,
        mirror=mirror,
        source=(236.0, 195.0),
        target=target,
    )
    composer = composer_of(stores[RECTANGLE])
    crop = composer._cut(np.random.default_rng(0), 0, matrix, scale, width=640, height=640)
    scales = np.hypot(matrix[:, 0], matrix[:, 1])
    assert len(crop.boxes) == 1
    assert assert_aligned(crop.pixels, crop.boxes[0], RECTANGLE, scales)


@pytest.mark.parametrize("how", ["_whole", "_around_object", "_mosaic", "compose"])
def test_a_disc_stays_under_its_box_in_composed_images(
    how: str, stores: dict[int, ImageStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer_module, "vary_camera", lambda _rng, pixels: pixels)
    composer = composer_of(stores[DISC])
    parts: list[Crop] = []
    part = composer._part

    def recorded(rng: np.random.Generator, *, width: int, height: int) -> Crop:
        parts.append(part(rng, width=width, height=height))
        return parts[-1]

    monkeypatch.setattr(composer, "_part", recorded)
    checked = 0
    for seed in range(120):
        rng, size = np.random.default_rng(seed), {"width": 320, "height": 256}
        parts.clear()
        if how == "_whole":
            crop = composer._whole(rng, 0, **size)
        elif how == "_around_object":
            crop = composer._around_object(rng, 0, composer._mix.sizes.draw(rng), **size)
        else:
            crop = composer._mosaic(rng, **size) if how == "_mosaic" else composer.compose(rng, **size)
        x, y = parts[0].pixels.shape[1::-1] if len(parts) == 4 else (320, 256)
        for box in crop.boxes:
            # A mosaic's parts are measured each for itself: what is beyond may be another object.
            left, right = (0, x) if box[2] <= x else (x, 320)
            top, bottom = (0, y) if box[3] <= y else (y, 256)
            within = crop.pixels[top:bottom, left:right]
            checked += assert_aligned(within, box - np.array([left, top, left, top], np.float32), DISC)
    assert checked > 20
