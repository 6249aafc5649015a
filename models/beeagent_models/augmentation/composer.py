"""Composes training images: crops of photographs and scenes, pasted cut-outs, and mosaics."""

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from beeagent.detection import box_areas, intersection_areas
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.augmentation.cutouts import blue_background_opacity, remove_blue_spill
from beeagent_models.augmentation.geometry import (
    Crop,
    affine_matrix,
    clip_to_frame,
    transform_boxes,
    warp,
)
from beeagent_models.augmentation.light import vary_camera, vary_light
from beeagent_models.augmentation.pasting import paste
from beeagent_models.augmentation.store import BACKGROUND, CUTOUT, PHOTOGRAPH, SCENE, ImageStore

_MOSAIC = 0.2
# Probabilities for photographs: uncropped; not rotated; with pasted objects. The others are rotated by multiples of 90
# degrees: at other angles, the new extent of an object does not follow from its box. Cut-outs are rotated freely.
_WHOLE, _UPRIGHT, _PASTED_INTO = 0.35, 0.6, 0.15
# Probability of another background for images with a blue one.
_REPLACED_BACKGROUND = 0.45
_MAX_PASTED = 9
# Probability of a crowd of cut-outs, with objects that touch and overlap as on a comb.
_CROWD, _MAX_CROWD = 0.35, 40
# Maximum covered share of an object.
_OVERLAP, _CROWD_OVERLAP = 0.25, 0.5
# Probability of a colour shift of backgrounds: those of combs are grey, unlike real ones.
_TINTED = 0.5
# Minimum size of the median object of an uncropped photograph, in pixels of the training image.
_MIN_WHOLE_SIZE = 9.0
# Maximum scale of objects: more only adds blur.
_MAX_SCALE = 2.5
# Minimum scale relative to that of the whole image: with more padding, the network would learn the padding.
_MIN_RELATIVE_SCALE = 0.85

_Key = TypeVar("_Key", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Object sizes in composed images: square root of the box area, in pixels of the network's input.

    Attributes:
        smallest: lower limit of the wide range; objects below 0.7 of it are ignored.
        common_low: lower limit of the common range, which half of the images use.
        common_high: upper limit of the common range.
        largest: upper limit of the wide range.
    """

    smallest: float = 8.0
    common_low: float = 12.0
    common_high: float = 48.0
    largest: float = 220.0

    @property
    def ignored_below(self) -> float:
        """Size below which an object is ignored."""
        return 0.7 * self.smallest

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a size from a log-uniform distribution."""
        low, high = (self.common_low, self.common_high) if rng.random() < 0.5 else (self.smallest, self.largest)
        return math.exp(rng.uniform(math.log(low), math.log(high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Composition of the training images.

    Attributes:
        weights: weight of each dataset among the photographs, in the order of the store's sources.
        synthetic: share of images that are synthetic scenes.
        pasted: share of images that are cut-outs pasted onto other backgrounds.
        sizes: object sizes.
        augmented: False for whole, letterboxed images without augmentation.
    """

    weights: tuple[float, ...]
    synthetic: float
    pasted: float
    sizes: Sizes
    augmented: bool = True


class Composer:
    """Composes random training images from a store.

    Args:
        store: photographs, synthetic scenes, empty backgrounds and cut-outs.
        mix: composition of the images.

    Raises:
        InputError: the store has no image of a kind with a share above 0.
    """

    def __init__(self, store: ImageStore, mix: Mix) -> None:
        self._store, self._mix = store, mix
        self._photographs = store.sources(PHOTOGRAPH)
        self._scenes = [number for numbers in store.sources(SCENE).values() for number in numbers]
        self._cutouts = list(store.sources(CUTOUT).values())
        self._backgrounds = list(store.sources(BACKGROUND).values())
        # Photographs without objects and ignored regions are backgrounds too.
        empty = [
            [n for n in numbers if not len(store.boxes(n)) and not len(store.ignored(n))]
            for numbers in self._photographs.values()
        ]
        self._backgrounds += [numbers for numbers in empty if numbers]
        self._kinds, self._kind_weights = _normalised(
            {
                SCENE: mix.synthetic if self._scenes else 0.0,
                CUTOUT: mix.pasted if self._cutouts and self._backgrounds else 0.0,
                PHOTOGRAPH: 1 - mix.synthetic - mix.pasted if self._photographs else 0.0,
            }
        )
        if not self._kinds:
            raise InputError(
                "there is nothing to compose images from: no photograph, scene or cut-out has a share above 0"
            )
        self._sources, self._source_weights = _normalised({s: mix.weights[s] for s in self._photographs})

    def compose(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        """Compose a training image, which only depends on the state of `rng`.

        Args:
            rng: random generator.
            width: width of the image in pixels.
            height: height of the image in pixels.
        """
        if not self._mix.augmented:
            return self._letterboxed(rng, width=width, height=height)
        crop = (self._mosaic if rng.random() < _MOSAIC else self._part)(rng, width=width, height=height)
        pixels = vary_camera(rng, crop.pixels)
        boxes, class_ids, ignored = clip_to_frame(
            crop.boxes,
            crop.class_ids,
            crop.ignored,
            width=width,
            height=height,
            smallest=self._mix.sizes.ignored_below,
        )
        return Crop(pixels, boxes, class_ids, ignored)

    def _letterboxed(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        """Return a whole photograph or scene, letterboxed."""
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._kind_weights))]
        number = _pick(rng, self._scenes) if kind == SCENE else self._draw_photograph(rng)
        rows, columns = self._store.pixels(number).shape[:2]
        scale = min(width / columns, height / rows)
        matrix = affine_matrix(
            scale_x=scale,
            scale_y=scale,
            angle=0.0,
            mirror=False,
            source=(columns / 2, rows / 2),
            target=(width / 2, height / 2),
        )
        return self._cut(rng, number, matrix, scale, width=width, height=height)

    def _mosaic(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        """Join four parts around a point near the centre."""
        x, y = (int(value) for value in rng.uniform(0.3, 0.7, 2) * (width, height))
        pixels = np.empty((height, width, 3), np.uint8)
        boxes, class_ids, ignored = [], [], []
        for left, top, right, bottom in ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)):
            part = self._part(rng, width=right - left, height=bottom - top)
            pixels[top:bottom, left:right] = part.pixels
            shift = np.array([left, top, left, top], np.float32)
            boxes.append(part.boxes + shift)
            class_ids.append(part.class_ids)
            ignored.append(part.ignored + shift)
        return Crop(pixels, np.concatenate(boxes), np.concatenate(class_ids), np.concatenate(ignored))

    def _part(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._kind_weights))]
        target_size = self._mix.sizes.draw(rng)
        if kind == CUTOUT:
            crop = self._background(rng, width=width, height=height)
            if rng.random() < _CROWD:
                count, overlap = int(rng.integers(_MAX_PASTED, _MAX_CROWD + 1)), _CROWD_OVERLAP
                target_size = min(target_size, 0.9 * math.sqrt(width * height / count))
            else:
                count, overlap = int(rng.integers(1, _MAX_PASTED + 1)), _OVERLAP
            crop = self._paste_cutouts(rng, crop, target_size, count=count, overlap=overlap)
        elif kind == SCENE:
            crop = self._around_object(rng, _pick(rng, self._scenes), target_size, width=width, height=height)
        else:
            crop = self._photograph(rng, target_size, width=width, height=height)
        return Crop(vary_light(rng, crop.pixels), crop.boxes, crop.class_ids, crop.ignored)

    def _photograph(self, rng: np.random.Generator, target_size: float, *, width: int, height: int) -> Crop:
        number = self._draw_photograph(rng)
        if rng.random() < _WHOLE and self._fits_whole(number, width=width, height=height):
            return self._whole(rng, number, width=width, height=height)
        crop = self._around_object(rng, number, target_size, width=width, height=height)
        if self._backgrounds and rng.random() < _REPLACED_BACKGROUND:
            crop = self._replace_background(rng, crop)
        if self._cutouts and rng.random() < _PASTED_INTO:
            crop = self._paste_cutouts(rng, crop, target_size, count=int(rng.integers(1, 4)))
        return crop

    def _draw_photograph(self, rng: np.random.Generator) -> int:
        source = self._sources[int(rng.choice(len(self._sources), p=self._source_weights))]
        return _pick(rng, self._photographs[source])

    def _fits_whole(self, number: int, *, width: int, height: int) -> bool:
        boxes = self._store.boxes(number)
        rows, columns = self._store.pixels(number).shape[:2]
        scale = min(width / columns, height / rows)
        return not len(boxes) or float(np.median(np.sqrt(box_areas(boxes)))) * scale >= _MIN_WHOLE_SIZE

    def _whole(self, rng: np.random.Generator, number: int, *, width: int, height: int) -> Crop:
        """Return a whole photograph with random scale, stretch, shift and mirroring."""
        rows, columns = self._store.pixels(number).shape[:2]
        scale = min(width / columns, height / rows) * math.exp(rng.uniform(-0.15, 0.45))
        matrix = affine_matrix(
            scale_x=scale * math.exp(rng.normal(0, 0.05)),
            scale_y=scale,
            angle=0.0,
            mirror=bool(rng.random() < 0.5),
            source=(columns / 2, rows / 2),
            target=tuple(np.array([width, height]) * (0.5 + rng.uniform(-0.12, 0.12, 2))),
        )
        return self._cut(rng, number, matrix, scale, width=width, height=height)

    def _around_object(
        self, rng: np.random.Generator, number: int, target_size: float, *, width: int, height: int
    ) -> Crop:
        """Return a randomly transformed crop around a random object, or around a random point without objects."""
        full, boxes = self._store.pixels(number), self._store.boxes(number)
        rows, columns = full.shape[:2]
        if len(boxes):
            box = boxes[int(rng.integers(len(boxes)))]
            side = math.sqrt(max(float((box[2] - box[0]) * (box[3] - box[1])), 1.0))
            fits = min(width / columns, height / rows)
            scale = min(max(target_size / side, _MIN_RELATIVE_SCALE * fits), _MAX_SCALE)
            point = ((box[:2] + box[2:]) / 2).astype(np.float64)
        else:
            scale = min(width / columns, height / rows) * math.exp(rng.uniform(-0.2, 1.6))
            scale = min(scale, _MAX_SCALE)
            point = rng.uniform(0, 1, 2) * (columns, rows)
        angle = 0.0 if rng.random() < _UPRIGHT else int(rng.integers(4)) * math.pi / 2
        stretch = math.exp(rng.normal(0, 0.08))
        matrix = affine_matrix(
            scale_x=scale * stretch,
            scale_y=scale / stretch,
            angle=angle,
            mirror=bool(rng.random() < 0.5),
            source=(float(point[0]), float(point[1])),
            target=tuple(rng.uniform(0.08, 0.92, 2) * (width, height)),
        )
        matrix = _shift_inside(matrix, columns=columns, rows=rows, width=width, height=height)
        return self._cut(rng, number, matrix, scale, width=width, height=height)

    def _background(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        number = _pick(rng, self._backgrounds[int(rng.integers(len(self._backgrounds)))])
        crop = self._around_object(rng, number, 0.0, width=width, height=height)
        if rng.random() < _TINTED:
            gain = np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
            tinted = np.clip(crop.pixels * gain, 0, 255).astype(np.uint8)
            crop = Crop(tinted, crop.boxes, crop.class_ids, crop.ignored)
        return crop

    def _cut(  # noqa: PLR0913
        self,
        rng: np.random.Generator,
        number: int,
        matrix: NDArray[np.float64],
        scale: float,
        *,
        width: int,
        height: int,
    ) -> Crop:
        store = self._store
        level, level_scale = store.shrunk(number, scale)
        scaled = matrix.copy()
        scaled[:, :2] /= level_scale
        color = rng.uniform(0, 255, 3) if rng.random() < 0.5 else level[::16, ::16].mean((0, 1))
        pixels = warp(level, scaled, width=width, height=height, fill=tuple(float(v) for v in color))
        boxes, class_ids, ignored = clip_to_frame(
            transform_boxes(store.boxes(number), matrix),
            store.class_ids(number),
            transform_boxes(store.ignored(number), matrix),
            width=width,
            height=height,
            smallest=self._mix.sizes.ignored_below,
        )
        return Crop(pixels, boxes, class_ids, ignored)

    def _replace_background(self, rng: np.random.Generator, crop: Crop) -> Crop:
        """Replace the background of a crop if it is blue."""
        height, width = crop.pixels.shape[:2]
        opacity = blue_background_opacity(crop.pixels)
        if float(opacity.mean()) > 0.8:
            return crop
        background = self._background(rng, width=width, height=height).pixels
        objects = remove_blue_spill(crop.pixels).astype(np.float32)
        pixels = (background + opacity[..., None] * (objects - background)).astype(np.uint8)
        return Crop(pixels, crop.boxes, crop.class_ids, crop.ignored)

    def _paste_cutouts(
        self, rng: np.random.Generator, crop: Crop, target_size: float, *, count: int, overlap: float = _OVERLAP
    ) -> Crop:
        height, width = crop.pixels.shape[:2]
        pixels = crop.pixels
        boxes, class_ids = list(crop.boxes), list(crop.class_ids)
        # Cut-outs of one dataset per image, because their sizes are consistent.
        cutouts = self._cutouts[int(rng.integers(len(self._cutouts)))]
        for _ in range(count):
            number = _pick(rng, cutouts)
            native = math.sqrt(self._store.pixels(number)[..., 0].size)
            size = min(target_size * math.exp(rng.normal(0, 0.2)) * 1.05, _MAX_SCALE * native, 0.9 * min(width, height))
            x, y = rng.uniform(-0.02, 1.02, 2) * (width, height)
            extent = np.array([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]], np.float32)
            if boxes:
                covered = intersection_areas(extent, np.stack(boxes)) / box_areas(np.stack(boxes))
                if float(covered.max()) > overlap:
                    continue
            source, _ = self._store.shrunk(number, size / native)
            box = paste(rng, pixels, source, center=(x, y), size=size)
            if box is not None:
                boxes.append(box)
                class_ids.append(self._store.class_ids(number)[0])
        if not boxes:
            return crop
        kept, ids, ignored = clip_to_frame(
            np.stack(boxes).astype(np.float32),
            np.asarray(class_ids, np.int64),
            crop.ignored,
            width=width,
            height=height,
            smallest=self._mix.sizes.ignored_below,
        )
        return Crop(pixels, kept, ids, ignored)


def _normalised(weights: dict[_Key, float]) -> tuple[list[_Key], list[float]]:
    kept = {key: weight for key, weight in weights.items() if weight > 0}
    total = sum(kept.values())
    return list(kept), [weight / total for weight in kept.values()]


def _pick(rng: np.random.Generator, numbers: list[int]) -> int:
    return numbers[int(rng.integers(len(numbers)))]


def _shift_inside(
    matrix: NDArray[np.float64], *, columns: int, rows: int, width: int, height: int
) -> NDArray[np.float64]:
    """Shift an affine map so that the crop is inside the image, or centred if it is larger."""
    inverse = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    center = inverse[:, :2] @ np.array([width / 2, height / 2]) + inverse[:, 2]
    half = np.abs(inverse[:, :2]) @ np.array([width / 2, height / 2])
    size = np.array([columns, rows], np.float64)
    new_center = np.where(2 * half < size, np.clip(center, half, np.maximum(size - half, half)), size / 2)
    shifted: NDArray[np.float64] = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (center - new_center)
    return shifted
