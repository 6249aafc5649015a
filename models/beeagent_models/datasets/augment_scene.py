"""Composes training pictures: crops at any scale and turn, mosaics, and cut-out bees on other grounds."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.datasets.augment_cutouts import ground_opacity, paste
from beeagent_models.datasets.augment_geometry import (
    Crop,
    affine_matrix,
    box_areas,
    cut_to_frame,
    shared_areas,
    transform_boxes,
    warp,
)
from beeagent_models.datasets.augment_light import vary_camera, vary_light
from beeagent_models.datasets.loader_store import PictureStore

# The kinds of pictures in a store.
PHOTOGRAPH, SCENE, GROUND, CUTOUT = "photograph", "scene", "ground", "cutout"

_MOSAIC = 0.3
_REGROUND = 0.45
_MAX_PASTED = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large objects appear in composed pictures: root of the box area, in pixels of the network's input.

    Attributes:
        smallest: the lower limit of the wide range; what ends up smaller than 0.6 of it is ignored.
        common_low: lower limit of the range that most pictures are drawn from.
        common_high: its upper limit.
        largest: the upper limit of the wide range.
    """

    smallest: float = 8.0
    common_low: float = 12.0
    common_high: float = 48.0
    largest: float = 120.0

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a size, evenly on a logarithmic scale."""
        low, high = (self.common_low, self.common_high) if rng.random() < 0.75 else (self.smallest, self.largest)
        return math.exp(rng.uniform(math.log(low), math.log(high)))


class SceneComposer:
    """Draws training pictures from a store.

    Args:
        store: photographs, synthetic scenes, empty grounds and cut-outs.
        synthetic_fraction: share of pictures that no camera took any part of.
        sizes: of objects.
    """

    def __init__(self, store: PictureStore, *, synthetic_fraction: float, sizes: Sizes) -> None:
        self._store = store
        self._sizes = sizes
        kinds = store.by_kind
        cutouts = bool(kinds.get(CUTOUT)) and bool(kinds.get(GROUND))
        real = 1 - synthetic_fraction
        weights = {
            SCENE: synthetic_fraction if kinds.get(SCENE) else 0.0,
            CUTOUT: real * 0.45 if cutouts else 0.0,
            PHOTOGRAPH: real * (0.55 if cutouts else 1.0) if kinds.get(PHOTOGRAPH) else 0.0,
        }
        self._kinds = [kind for kind, weight in weights.items() if weight]
        total = sum(weights.values())
        self._weights = [weights[kind] / total for kind in self._kinds]
        # A photograph with many objects teaches more than one with few.
        counts = np.array([1 + len(store.boxes(index)) for index in kinds.get(PHOTOGRAPH, [])], np.float64)
        self._photograph_weights = counts / counts.sum() if len(counts) else counts

    def compose(self, rng: np.random.Generator, *, size: int) -> Crop:
        """Draw one training picture; the same generator state gives the same picture.

        Args:
            rng: decides everything.
            size: width and height in pixels.
        """
        crop = self._mosaic(rng, size) if rng.random() < _MOSAIC else self._part(rng, width=size, height=size)
        pixels = vary_camera(rng, crop.pixels)
        boxes, class_ids, ignored = cut_to_frame(
            crop.boxes, crop.class_ids, crop.ignored, width=size, height=size, smallest=0.6 * self._sizes.smallest
        )
        return Crop(pixels, boxes, class_ids, ignored)

    def _mosaic(self, rng: np.random.Generator, size: int) -> Crop:
        """Put four parts together around a point near the middle."""
        x, y = (int(value) for value in rng.uniform(0.3, 0.7, 2) * size)
        pixels = np.empty((size, size, 3), np.uint8)
        boxes, class_ids, ignored = [], [], []
        for left, top, right, bottom in ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)):
            part = self._part(rng, width=right - left, height=bottom - top)
            pixels[top:bottom, left:right] = part.pixels
            shift = np.array([left, top, left, top], np.float32)
            boxes.append(part.boxes + shift)
            class_ids.append(part.class_ids)
            ignored.append(part.ignored + shift)
        return Crop(pixels, np.concatenate(boxes), np.concatenate(class_ids), np.concatenate(ignored))

    def _part(self, rng: np.random.Generator, *, width: int, height: int) -> Crop:
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._weights))]
        wanted = self._sizes.draw(rng)
        if kind == CUTOUT:
            crop = self._crop(rng, GROUND, wanted, width=width, height=height)
            crop = self._with_cutouts(rng, crop, wanted, count=int(rng.integers(1, _MAX_PASTED + 1)))
        else:
            crop = self._crop(rng, kind, wanted, width=width, height=height)
            if kind == PHOTOGRAPH and self._store.by_kind.get(GROUND):
                if rng.random() < _REGROUND:
                    crop = self._regrounded(rng, crop)
                if self._store.by_kind.get(CUTOUT) and rng.random() < 0.25:
                    crop = self._with_cutouts(rng, crop, wanted, count=int(rng.integers(1, 4)))
        return Crop(vary_light(rng, crop.pixels), crop.boxes, crop.class_ids, crop.ignored)

    def _crop(self, rng: np.random.Generator, kind: str, wanted: float, *, width: int, height: int) -> Crop:
        """Cut a turned and scaled piece out of a picture, around one of its objects."""
        store = self._store
        indices = store.by_kind[kind]
        if kind == PHOTOGRAPH:
            index = indices[int(rng.choice(len(indices), p=self._photograph_weights))]
        else:
            index = _pick(rng, indices)
        full, boxes = store.picture(index), store.boxes(index)
        rows, columns = full.shape[:2]
        if len(boxes):
            box = boxes[int(rng.integers(len(boxes)))]
            side = math.sqrt(max(float((box[2] - box[0]) * (box[3] - box[1])), 1.0))
            scale = min(max(wanted / side, 0.1), 2.5)
            anchor = ((box[:2] + box[2:]) / 2).astype(np.float64)
        else:
            scale = float(np.exp(rng.uniform(np.log(0.3), np.log(1.5))))
            anchor = rng.uniform(0, 1, 2) * (columns, rows)
        quarter = int(rng.integers(4)) * math.pi / 2
        loose = kind == PHOTOGRAPH and rng.random() < 0.35
        angle = quarter + (rng.uniform(-math.pi / 4, math.pi / 4) if loose else rng.normal(0, 0.12))
        stretch = math.exp(rng.normal(0, 0.08))
        place = rng.uniform(0.08, 0.92, 2) * (width, height)
        level, level_scale = store.shrunk(index, scale)
        parts = {
            "scale_x": scale * stretch,
            "scale_y": scale / stretch,
            "angle": angle,
            "mirror": bool(rng.random() < 0.5),
        }
        matrix = affine_matrix(**parts, source=tuple(anchor), target=tuple(place))  # type: ignore[arg-type]  # a mapping
        matrix = _kept_inside(matrix, columns=columns, rows=rows, width=width, height=height)
        scaled = matrix.copy()
        scaled[:, :2] /= level_scale
        fill = tuple(
            float(v) for v in (rng.uniform(0, 255, 3) if rng.random() < 0.5 else level[::16, ::16].mean((0, 1)))
        )
        pixels = warp(level, scaled, width=width, height=height, fill=fill)
        moved, class_ids, ignored = cut_to_frame(
            transform_boxes(boxes, matrix),
            store.class_ids(index),
            transform_boxes(store.ignored(index), matrix),
            width=width,
            height=height,
            smallest=0.6 * self._sizes.smallest,
        )
        return Crop(pixels, moved, class_ids, ignored)

    def _regrounded(self, rng: np.random.Generator, crop: Crop) -> Crop:
        """Put another ground behind the objects of a crop with a blue one."""
        height, width = crop.pixels.shape[:2]
        opacity = ground_opacity(crop.pixels)
        if float(opacity.mean()) > 0.8:
            return crop
        opacity = opacity[..., None]
        ground = self._crop(rng, GROUND, 0.0, width=width, height=height).pixels
        limit = np.maximum(crop.pixels[..., 1], crop.pixels[..., 2])[..., None]
        objects = np.concatenate([np.minimum(crop.pixels[..., :1], limit), crop.pixels[..., 1:]], axis=-1)
        pixels = (ground + opacity * (objects.astype(np.float32) - ground)).astype(np.uint8)
        return Crop(pixels, crop.boxes, crop.class_ids, crop.ignored)

    def _with_cutouts(self, rng: np.random.Generator, crop: Crop, wanted: float, *, count: int) -> Crop:
        height, width = crop.pixels.shape[:2]
        pixels = crop.pixels
        boxes, class_ids = list(crop.boxes), list(crop.class_ids)
        cutouts = self._store.by_kind[CUTOUT]
        for _ in range(count):
            index = _pick(rng, cutouts)
            size = wanted * math.exp(rng.normal(0, 0.2)) * 1.05
            x, y = rng.uniform(-0.02, 1.02, 2) * (width, height)
            reach = np.array([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]], np.float32)
            if boxes and float((shared_areas(reach, np.stack(boxes)) / box_areas(np.stack(boxes))).max()) > 0.25:
                continue
            source, _ = self._store.shrunk(index, size / math.sqrt(self._store.picture(index)[..., 0].size))
            box = paste(rng, pixels, source, center=(x, y), size=size)
            if box is not None:
                boxes.append(box)
                class_ids.append(self._store.class_ids(index)[0])
        if not boxes:
            return crop
        kept, ids, ignored = cut_to_frame(
            np.stack(boxes).astype(np.float32),
            np.asarray(class_ids, np.int64),
            crop.ignored,
            width=width,
            height=height,
            smallest=0.6 * self._sizes.smallest,
        )
        return Crop(pixels, kept, ids, ignored)


def _pick(rng: np.random.Generator, indices: list[int]) -> int:
    return indices[int(rng.integers(len(indices)))]


def _kept_inside(
    matrix: NDArray[np.float64], *, columns: int, rows: int, width: int, height: int
) -> NDArray[np.float64]:
    """Shift a map so that the piece it cuts lies within the picture, or about its middle if it is larger."""
    inverse = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    middle = inverse[:, :2] @ np.array([width / 2, height / 2]) + inverse[:, 2]
    reach = np.abs(inverse[:, :2]) @ np.array([width / 2, height / 2])
    sides = np.array([columns, rows], np.float64)
    wanted = np.where(2 * reach < sides, np.clip(middle, reach, np.maximum(sides - reach, reach)), sides / 2)
    shifted: NDArray[np.float64] = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (middle - wanted)
    return shifted
