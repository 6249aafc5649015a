"""The pose of a bee, and the canvas on which it is drawn, in units of body lengths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from beeagent.camera.synthetic.drawing import Colour, Image, Plane, as_image, draw_line
from beeagent.camera.synthetic.sprite import Sprite

Patch = tuple[slice, slice]
Line = tuple[Sequence[tuple[float, float]], float]
"""The points of a line and its width, in body lengths."""


@dataclass(frozen=True, slots=True)
class BeePose:
    """The pose of a bee.

    Attributes:
        wing_angle: radians between the backward axis of the body and each fore wing, left and right; about 0.2 if
            folded, 1.5 if spread.
        wing_beat: radians that the wings sweep during the exposure; 0 for wings at rest.
        roll: radians around the body's own axis; 0 seen from above, pi / 2 from the side, pi from below.
        bend: curvature of the abdomen to one side, about -0.5 to 0.5.
        gait: phase of the walk, in radians.
        legs: extension of the legs, 0 to 1; small in flight.
        light: direction towards the light: ahead, to the side, up; any length.
    """

    wing_angle: tuple[float, float] = (0.2, 0.2)
    wing_beat: float = 0.0
    roll: float = 0.0
    bend: float = 0.0
    gait: float = 0.0
    legs: float = 1.0
    light: tuple[float, float, float] = (0.2, -0.4, 1.0)


class Canvas:
    """A square drawing; coordinates are body lengths from its centre, x ahead, y to the bee's right.

    Args:
        side: width and height in pixels.
        scale: pixels per body length.
        pose: pose of the bee.
    """

    def __init__(self, side: int, *, scale: float, pose: BeePose) -> None:
        self.side = side
        self.scale = scale
        self.pose = pose
        self._colour = np.zeros((side, side, 3), dtype=np.float32)
        self._cover = np.zeros((side, side), dtype=np.float32)
        self._solid = np.zeros((side, side), dtype=np.float32)
        light = np.array(pose.light, dtype=np.float32)
        self.light = light / np.linalg.norm(light)
        half = self.light + np.array([0, 0, 1], dtype=np.float32)
        self.half = half / np.linalg.norm(half)

    def rolled(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Roll a point around the body's axis and project it from above."""
        return (x, y * math.cos(self.pose.roll) - z * math.sin(self.pose.roll))

    def patch(self, left: float, top: float, right: float, bottom: float) -> Patch:
        """Return the rows and columns of a rectangle in body lengths, clipped to the canvas."""
        x0, y0, x1, y1 = (place * self.scale + self.side / 2 for place in (left, top, right, bottom))
        rows = slice(min(max(0, math.floor(y0) - 1), self.side - 1), max(1, min(self.side, math.ceil(y1) + 2)))
        return rows, slice(min(max(0, math.floor(x0) - 1), self.side - 1), max(1, min(self.side, math.ceil(x1) + 2)))

    def patch_around(self, points: Sequence[tuple[float, float]], margin: float) -> Patch:
        """Return the rows and columns of a rectangle around points."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return self.patch(min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)

    def pixels(self, points: ArrayLike, where: Patch) -> NDArray[np.float64]:
        """Convert points in body lengths to pixels from a patch's corner."""
        corner = np.array([where[1].start, where[0].start])
        return np.asarray(np.asarray(points, dtype=np.float64) * self.scale + self.side / 2 - corner)

    def coordinates(self, where: Patch) -> tuple[Plane, Plane]:
        """Return the x of each column and the y of each row of a patch."""
        x = (np.arange(where[1].start, where[1].stop, dtype=np.float32) + 0.5 - self.side / 2) / self.scale
        y = (np.arange(where[0].start, where[0].stop, dtype=np.float32) + 0.5 - self.side / 2) / self.scale
        return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)

    def blend(self, where: Patch, colour: NDArray[np.float32], cover: Plane, *, solid: Plane | None = None) -> None:
        """Blend a colour over the drawing.

        Args:
            where: rows and columns.
            colour: BGR for the whole patch or for each pixel.
            cover: coverage, 0 to 1 for each pixel.
            solid: coverage by parts that belong in the bee's box, 0 to 1 for each pixel.
        """
        keep = 1 - cover
        self._colour[where] *= keep[..., None]
        self._colour[where] += colour * cover[..., None]
        self._cover[where] *= keep
        self._cover[where] += cover
        if solid is not None:
            np.maximum(self._solid[where], solid, out=self._solid[where])

    def strokes(self, lines: Sequence[Line], *, colour: Colour) -> None:
        """Draw lines of one colour in one step, so that overlaps do not add up."""
        widest = max(width for _, width in lines)
        where = self.patch_around([place for places, _ in lines for place in places], widest)
        mask = blank(where)
        for places, width in lines:
            draw_line(mask, self.pixels(places, where), (255.0, 0, 0), thickness=max(1, round(width * self.scale)))
        self.blend(where, np.array(colour, dtype=np.float32), as_share(mask))

    def sprite(self, side: int) -> Sprite:
        """Return the drawing, resized to its final size."""
        colour, cover, solid = (
            np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA))
            for plane in (self._colour, self._cover, self._solid)
        )
        paint = np.dstack([colour, 255 * cover])
        return Sprite(paint=as_image(np.clip(paint + 0.5, 0, 255)), solid=as_image(np.clip(255 * solid + 0.5, 0, 255)))


def blank(where: Patch) -> Image:
    """Return an empty mask for a patch."""
    return np.zeros((where[0].stop - where[0].start, where[1].stop - where[1].start), dtype=np.uint8)


def as_share(mask: Image) -> Plane:
    """Convert a mask of 0 to 255 into shares of 0 to 1."""
    return np.asarray(mask.astype(np.float32) / np.float32(255), dtype=np.float32)
