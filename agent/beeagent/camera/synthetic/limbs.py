"""Legs, feelers and wings of a bee."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.canvas import Canvas, Line, as_share, blank
from beeagent.camera.synthetic.drawing import draw_line, draw_shape
from beeagent.camera.synthetic.look import BeeLook, BeePose
from beeagent.camera.synthetic.noise import Plane

_LEGS = (  # hip, knee, heel and foot of the fore, middle and hind legs, and the phase of their step
    ((0.29, 0.08), (0.36, 0.19), (0.45, 0.2), (0.51, 0.23), 0.0),
    ((0.21, 0.1), (0.18, 0.24), (0.14, 0.33), (0.08, 0.38), math.pi),
    ((0.13, 0.1), (0.03, 0.22), (-0.1, 0.26), (-0.22, 0.33), 0.0),
)
_LEG_WIDTHS = ((0.024, 0.02, 0.012), (0.026, 0.021, 0.013), (0.03, 0.034, 0.018))
_HIND = 2

_FORE_WING = ((0.0, 0.0), (0.25, -0.055), (0.6, -0.1), (0.88, -0.09), (0.985, -0.03), (1.0, 0.05),
              (0.93, 0.15), (0.75, 0.2), (0.5, 0.17), (0.25, 0.08), (0.08, 0.03))  # fmt: skip
_HIND_WING = ((0.0, 0.0), (0.3, -0.04), (0.65, -0.06), (0.92, -0.02), (1.0, 0.06), (0.9, 0.15),
              (0.65, 0.19), (0.35, 0.14), (0.1, 0.04))  # fmt: skip
_VEINS = (((0.0, 0.0), (0.4, -0.05), (0.85, -0.06)), ((0.1, 0.0), (0.45, 0.03), (0.9, 0.06)),
          ((0.15, 0.02), (0.45, 0.1), (0.75, 0.17)), ((0.45, -0.04), (0.5, 0.1), (0.48, 0.16)),
          ((0.68, -0.05), (0.7, 0.06), (0.66, 0.16)))  # fmt: skip
_WINGS = ((_HIND_WING, 0.46, (0.14, 0.09), 0.12), (_FORE_WING, 0.66, (0.22, 0.1), 0.0))
"""Outline, length in body lengths, hinge, and how far each kind of wing lags behind the fore wing, in radians."""

_LEAST_SEEN = 0.12
"""A place swept by a wing belongs in the box where at least this much of what lies below is covered."""


def draw_legs(canvas: Canvas, look: BeeLook, pose: BeePose) -> None:
    """Draw six legs in the middle of their step, pollen on the hind legs, and two feelers."""
    legs: list[Line] = []
    loads: list[Line] = []
    for side in (-1, 1):
        for index, (*joints, phase) in enumerate(_LEGS):
            swing = 0.06 * math.sin(pose.gait + phase + (math.pi if side < 0 else 0.0)) * pose.legs
            (hip_x, hip_y), places = joints[0], []
            for step, (x, y) in enumerate(joints):
                ahead = hip_x + (x - hip_x) * pose.legs + swing * step / 3
                places.append(canvas.rolled(ahead, side * (hip_y + (y - hip_y) * pose.legs), -0.05 - 0.04 * step))
            legs += [(places[k : k + 2], width) for k, width in enumerate(_LEG_WIDTHS[index])]
            if index == _HIND:
                knee, heel = np.array(places[1]), np.array(places[2])
                ball = [(float(x), float(y)) for x, y in (knee * 0.55 + heel * 0.45, knee * 0.3 + heel * 0.7)]
                loads.append((ball, 0.085))
        elbow = canvas.rolled(0.55, side * 0.07, 0.0)
        tip = canvas.rolled(0.63, side * (0.13 + 0.04 * math.sin(pose.gait + side)), 0.0)
        legs.append(([canvas.rolled(0.48, side * 0.03, 0.0), elbow, tip], 0.014))
    canvas.strokes(legs, colour=(look.dark[0] * 1.15, look.dark[1] * 1.2, look.dark[2] * 1.3))
    if look.pollen:
        b, g, r = look.pollen
        canvas.strokes(loads, colour=(b * 0.6, g * 0.6, r * 0.6))
        canvas.strokes([(places, width * 0.6) for places, width in loads], colour=look.pollen)


def draw_wings(canvas: Canvas, look: BeeLook, pose: BeePose) -> None:
    """Draw four wings: at rest with veins and a glint, beating as a soft fan."""
    for outline, size, hinge, lag in _WINGS:
        for side, angle in zip((-1, 1), pose.wing_angle, strict=True):
            wing = _Wing(canvas, size=size, hinge=hinge, side=side, curve=_rounded(outline))
            wing.draw(look, angle=angle - lag, beat=pose.wing_beat)


def _rounded(outline: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Cut the corners of a closed outline twice (Chaikin's algorithm)."""
    points = np.array(outline)
    for _ in range(2):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points


class _Wing:
    """One wing: `size` long, hinged at `hinge`, on the left (-1) or right (1) side."""

    def __init__(
        self, canvas: Canvas, *, size: float, hinge: tuple[float, float], side: int, curve: NDArray[np.float64]
    ) -> None:
        self._canvas = canvas
        self._size = size
        self._hinge = hinge
        self._side = side
        self._curve = curve

    def _placed(self, points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
        """Place points of the wing, along and across it, as they are seen at an angle off the body's axis."""
        along, across = points[:, 0] * self._size, -points[:, 1] * self._size * 1.1
        x = self._hinge[0] - along * math.cos(angle) - across * math.sin(angle)
        y = self._side * (self._hinge[1] + along * math.sin(angle) - across * math.cos(angle))
        height = 0.1 + 0.12 * along
        roll = self._canvas.pose.roll
        return np.stack([x, y * math.cos(roll) - height * math.sin(roll)], axis=1)

    def draw(self, look: BeeLook, *, angle: float, beat: float) -> None:
        """Draw it at an angle, or swept over `beat` radians around it."""
        count = 1 + min(7, math.ceil(beat / 0.12))
        places = [self._placed(self._curve, angle + beat * (k / max(count - 1, 1) - 0.5)) for k in range(count)]
        where = self._canvas.patch_around([(p[0], p[1]) for p in np.concatenate(places)], 0)
        total = np.zeros_like(blank(where), dtype=np.float32)
        for outline in places:
            mask = blank(where)
            draw_shape(mask, self._canvas.pixels(outline, where), (255.0, 0, 0))
            total += as_share(mask)
        swept = np.asarray(total / count, dtype=np.float32)
        opacity = look.wing_opacity + 0.2 * look.wing_glint
        # A wing that sweeps is at each place for a part of the time; the eye sees a little more than that.
        cover = np.asarray(swept**0.7 * opacity, dtype=np.float32)
        solid = (cover > _LEAST_SEEN if count > 1 else swept > 0.5).astype(np.float32)
        tint = (
            np.array(look.wing_tint, dtype=np.float32) + (self._glint(where, angle) * 100 * look.wing_glint)[..., None]
        )
        if count == 1:
            veins = self._veins(where, angle)
            dark = np.array(look.dark, dtype=np.float32) * np.float32(1.7)
            tint = np.asarray(tint + (dark - tint) * veins[..., None], dtype=np.float32)
            cover = np.maximum(cover, veins * np.float32(0.25 + 0.5 * opacity))
        self._canvas.lay(where, np.asarray(tint, dtype=np.float32), cover, solid=solid)

    def _glint(self, where: tuple[slice, slice], angle: float) -> Plane:
        """Give the light that the membrane mirrors: a soft streak along the wing."""
        mask = blank(where)
        streak = self._placed(np.array([(0.3, 0.0), (0.95, 0.08)]), angle)
        width = max(1, round(0.1 * self._size * self._canvas.scale))
        draw_line(mask, self._canvas.pixels(streak, where), (255.0, 0, 0), thickness=width)
        return np.asarray(cv2.blur(as_share(mask), (width, width)), dtype=np.float32)

    def _veins(self, where: tuple[slice, slice], angle: float) -> Plane:
        mask = blank(where)
        strength, width = 200.0, max(1, round(0.006 * self._canvas.scale))
        for vein in _VEINS:
            line = self._canvas.pixels(self._placed(np.array(vein), angle), where)
            draw_line(mask, line, (strength, 0, 0), thickness=width)
        edge = self._canvas.pixels(self._placed(self._curve, angle), where)
        draw_line(mask, np.concatenate([edge, edge[:1]]), (strength, 0, 0), thickness=width)
        return as_share(mask)
