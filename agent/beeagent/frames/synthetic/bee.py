"""A honeybee, drawn from nothing: head, furry thorax, striped abdomen, wings, legs, antennae.

The body's parts are bodies of revolution seen along parallel rays: where a ray meets one, its surface normal
gives the shading and its place along and around the axis gives the colour, so one drawing routine shows a bee
from above, from the side and from below. Proportions are those of a worker of Apis mellifera.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.frames.synthetic.noise import Plane, value_noise
from beeagent.frames.synthetic.sprite import Sprite, as_image

Colour = tuple[float, float, float]

CANVAS = 1.9
"""Width and height of the drawing in body lengths: room for spread wings, legs and antennae."""


@dataclass(frozen=True, slots=True)
class BeeLook:
    """What tells one bee from another. Colours are BGR, 0 to 255.

    Attributes:
        amber: the light part of the abdomen.
        dark: the dark bands, legs and head.
        fur: the hair of the thorax.
        hairband: the pale hair at the front of each ring of the abdomen.
        band: share of each ring that is dark, 0 to 1.
        hairband_strength: 0 for a bald bee, 1 for pronounced pale rings.
        tip: share of the abdomen, from its tip, that is dark.
        gloss: strength of the highlight on the abdomen, 0 to 1.
        stoutness: factor on all widths.
        wing_tint: colour of the wing membrane.
        wing_opacity: 0 to 1.
        wing_glint: brightness of the light mirrored by the wings, 0 to 1.
        pollen: colour of the loads on the hind legs, or None without.
    """

    amber: Colour
    dark: Colour
    fur: Colour
    hairband: Colour
    band: float
    hairband_strength: float
    tip: float
    gloss: float
    stoutness: float
    wing_tint: Colour
    wing_opacity: float
    wing_glint: float
    pollen: Colour | None


@dataclass(frozen=True, slots=True)
class BeePose:
    """How a bee holds itself.

    Attributes:
        wing_angle: radians between the body's axis, backwards, and each fore wing, left and right; about 0.2
            when folded, 1.5 when spread.
        wing_beat: radians that the wings sweep while the shutter is open; 0 for wings at rest.
        roll: radians around the body's own axis; 0 seen from above, pi / 2 from the side, pi from below.
        bend: curvature of the abdomen to one side, about -0.5 to 0.5.
        gait: phase of the walk, in radians.
        legs: 0 to 1: how far the legs are stretched out; small in flight.
        light: direction towards the light: ahead, to the side, up; any length.
    """

    wing_angle: tuple[float, float] = (0.2, 0.2)
    wing_beat: float = 0.0
    roll: float = 0.0
    bend: float = 0.0
    gait: float = 0.0
    legs: float = 1.0
    light: tuple[float, float, float] = (0.2, -0.4, 1.0)


def random_look(rng: np.random.Generator) -> BeeLook:
    """Draw the looks of one bee: from light Italian over striped grey Carniolan to almost black."""
    melanin = float(rng.beta(1.1, 1.1))
    grey = float(rng.random()) ** 2

    def mixed(light: Colour, deep: Colour, share: float, spread: float = 0.12) -> Colour:
        factor = float(rng.normal(1, spread))
        b, g, r = (factor * (a + (z - a) * share) for a, z in zip(light, deep, strict=True))
        mean = (b + g + r) / 3
        washed = 0.45 * grey
        return (b + (mean - b) * washed, g + (mean - g) * washed, r + (mean - r) * washed)

    return BeeLook(
        amber=mixed((52, 128, 205), (28, 58, 100), melanin**1.2),
        dark=mixed((26, 34, 52), (14, 17, 22), melanin, 0.2),
        fur=mixed((70, 128, 178), (48, 76, 102), melanin, 0.18),
        hairband=mixed((120, 170, 205), (130, 155, 170), melanin),
        band=float(rng.uniform(0.25, 0.5) + 0.3 * melanin),
        hairband_strength=float(rng.uniform(0.1, 0.95)),
        tip=float(rng.uniform(0.08, 0.3) + 0.15 * melanin),
        gloss=float(rng.uniform(0.05, 0.7)),
        stoutness=float(rng.normal(1.0, 0.07)),
        wing_tint=mixed((150, 165, 180), (95, 110, 125), float(rng.random()), 0.1),
        wing_opacity=float(rng.uniform(0.12, 0.5)),
        wing_glint=float(rng.random() ** 2),
        pollen=_pollen(rng) if rng.random() < 0.12 else None,
    )


def _pollen(rng: np.random.Generator) -> Colour:
    return (float(rng.uniform(10, 90)), float(rng.uniform(130, 200)), float(rng.uniform(190, 245)))


def random_pose(rng: np.random.Generator, *, flying: bool = False) -> BeePose:
    """Draw a pose of a walking or a flying bee."""
    side = float(rng.normal(0, 0.35)) if rng.random() < 0.8 else float(rng.uniform(-math.pi, math.pi))
    light = (float(rng.normal(0, 0.6)), float(rng.normal(0, 0.6)), 1.0)
    if flying:
        angle = float(rng.uniform(1.0, 1.9))
        return BeePose(
            wing_angle=(angle + float(rng.normal(0, 0.1)), angle + float(rng.normal(0, 0.1))),
            wing_beat=float(rng.uniform(0.2, 1.1)),
            roll=side,
            bend=float(rng.normal(0, 0.1)),
            legs=float(rng.uniform(0.25, 0.6)),
            light=light,
        )
    kind = rng.random()
    if kind < 0.6:
        angle = float(rng.uniform(0.08, 0.35))
    elif kind < 0.9:
        angle = float(rng.uniform(0.35, 0.8))
    else:
        angle = float(rng.uniform(0.8, 1.4))
    return BeePose(
        wing_angle=(angle + float(rng.normal(0, 0.06)), angle + float(rng.normal(0, 0.06))),
        wing_beat=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.1 else 0.0,
        roll=side,
        bend=float(rng.normal(0, 0.25)),
        gait=float(rng.uniform(0, 2 * math.pi)),
        legs=float(rng.uniform(0.7, 1.1)),
        light=light,
    )


def draw_bee(look: BeeLook, pose: BeePose, *, length: float, rng: np.random.Generator) -> Sprite:
    """Draw one bee heading to the right, at several times its size, and shrink it.

    Args:
        look: its colours.
        pose: its posture.
        length: of the body in pixels, at least 1.
        rng: for hair and mottling.

    Returns:
        A square sprite, `CANVAS` times `length` wide and high, without a shadow.
    """
    side = max(4, round(CANVAS * length))
    factor = 4 if length < 60 else 3 if length < 110 else 2
    canvas = _Canvas(side * factor, scale=side * factor / CANVAS, pose=pose)
    upright = math.cos(pose.roll) > 0
    limbs: Callable[[], None] = lambda: _draw_limbs(canvas, look, pose)  # noqa: E731 (one of two, ordered below)
    wings: Callable[[], None] = lambda: _draw_wings(canvas, look, pose)  # noqa: E731 (as above)
    (limbs if upright else wings)()
    _draw_body(canvas, look, rng)
    (wings if upright else limbs)()
    return canvas.sprite(side)


class _Canvas:
    """A drawing in progress; its coordinates are body lengths from the middle, x ahead, y to the right side."""

    def __init__(self, side: int, *, scale: float, pose: BeePose) -> None:
        self.side = side
        self.scale = scale
        self.pose = pose
        self.colour = np.zeros((side, side, 3), dtype=np.float32)
        self.cover = np.zeros((side, side), dtype=np.float32)
        self.solid = np.zeros((side, side), dtype=np.float32)
        direction = np.array(pose.light, dtype=np.float32)
        self.light = direction / np.linalg.norm(direction)
        half = self.light + np.array([0, 0, 1], dtype=np.float32)
        self.half = half / np.linalg.norm(half)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Give the place in pixels of a place in body lengths."""
        return (x * self.scale + self.side / 2, y * self.scale + self.side / 2)

    def rolled(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Turn a point around the body's axis and look at it from above."""
        return (x, y * math.cos(self.pose.roll) - z * math.sin(self.pose.roll))

    def patch(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Give the rows and columns of a rectangle in body lengths, cut to the canvas."""
        x0, y0 = self.pixel(left, top)
        x1, y1 = self.pixel(right, bottom)
        rows = slice(max(0, math.floor(y0) - 1), min(self.side, math.ceil(y1) + 2))
        return rows, slice(max(0, math.floor(x0) - 1), min(self.side, math.ceil(x1) + 2))

    def lay(
        self, where: tuple[slice, slice], colour: NDArray[np.float32], cover: Plane, *, solid: Plane | None = None
    ) -> None:
        """Lay a colour over what is there, as far as it covers; `solid` is its part in the bee's box."""
        keep = 1 - cover
        self.colour[where] *= keep[..., None]
        self.colour[where] += colour * cover[..., None]
        self.cover[where] *= keep
        self.cover[where] += cover
        if solid is not None:
            np.maximum(self.solid[where], solid, out=self.solid[where])

    def stroke(self, points: list[tuple[float, float]], *, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """Draw a line through places in body lengths; `width` is in body lengths too."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        where = self.patch(min(xs) - width, min(ys) - width, max(xs) + width, max(ys) + width)
        mask = np.zeros((where[0].stop - where[0].start, where[1].stop - where[1].start), dtype=np.uint8)
        if mask.size == 0:
            return
        corner = np.array([where[1].start, where[0].start])
        path = ((np.array([self.pixel(*p) for p in points]) - corner) * 16).round().astype(np.int32)
        cv2.polylines(mask, [path], False, 255, max(1, round(width * self.scale)), cv2.LINE_AA, 4)
        self.lay(where, np.array(colour, dtype=np.float32), mask.astype(np.float32) * np.float32(opacity / 255))

    def sprite(self, side: int) -> Sprite:
        """Shrink the drawing to its final size."""
        size = (side, side)
        colour = cv2.resize(self.colour, size, interpolation=cv2.INTER_AREA)
        cover = cv2.resize(self.cover, size, interpolation=cv2.INTER_AREA)
        solid = cv2.resize(self.solid, size, interpolation=cv2.INTER_AREA)
        return Sprite(
            colour=as_image(np.clip(colour, 0, 255)),
            passing=as_image(np.clip(255 * (1 - cover) + 0.5, 0, 255)),
            solid=as_image(np.clip(255 * solid + 0.5, 0, 255)),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """One body of revolution: from `front` backwards over `length`, `radius` at its thickest."""

    front: float
    length: float
    radius: float
    taper: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True, slots=True)
class _Surface:
    """What parallel rays from above meet on a part: place along it, angle around it, normal, coverage."""

    where: tuple[slice, slice]
    along: Plane
    around: Plane
    normal: tuple[Plane, Plane, Plane]
    cover: Plane


def _surface(canvas: _Canvas, part: _Part, stoutness: float) -> _Surface:
    radius = part.radius * stoutness
    room = radius + abs(part.bend) * part.length**2
    where = canvas.patch(part.front - part.length, -room, part.front, room)
    x = ((np.arange(where[1].start, where[1].stop, dtype=np.float32) + 0.5) - canvas.side / 2) / canvas.scale
    y = ((np.arange(where[0].start, where[0].stop, dtype=np.float32) + 0.5) - canvas.side / 2) / canvas.scale
    along = np.clip((part.front - x) / part.length, 0, 1)
    profile = radius * np.sqrt(np.maximum(1 - (2 * along - 1) ** 2, 0)) ** 0.85
    profile *= 1 - part.taper * np.clip(along - 0.35, 0, 1) ** 1.5
    slope = np.gradient(profile, x[1] - x[0])
    offset = y[:, None] - (part.bend * (part.front - x) ** 2)[None, :]
    ratio = np.clip(offset / np.maximum(profile, 1e-4)[None, :], -1, 1).astype(np.float32)
    up = np.sqrt(np.maximum(1 - ratio**2, 0))
    ahead = np.broadcast_to((-slope).astype(np.float32)[None, :], ratio.shape)
    size = np.sqrt(1 + ahead**2)
    cover = np.clip((profile[None, :] - np.abs(offset)) * canvas.scale + 0.5, 0, 1).astype(np.float32)
    cover *= (profile > 0)[None, :]
    return _Surface(
        where=where,
        along=np.broadcast_to(along.astype(np.float32)[None, :], ratio.shape),
        around=np.asarray(np.arcsin(ratio) + np.float32(canvas.pose.roll), dtype=np.float32),
        normal=(ahead / size, ratio / size, up / size),
        cover=cover,
    )


def _shaded(canvas: _Canvas, surface: _Surface, base: NDArray[np.float32], *, gloss: float) -> NDArray[np.float32]:
    """Light a part: sky from above, sun from one side, a highlight on what shines."""
    lit = sum((n * c for n, c in zip(surface.normal, canvas.light, strict=True)), np.float32(0))
    diffuse = np.clip(lit, 0, 1) * 0.75 + 0.18 + 0.15 * surface.normal[2]
    shine = sum((n * c for n, c in zip(surface.normal, canvas.half, strict=True)), np.float32(0))
    highlight = np.clip(shine, 0, 1) ** 24 * np.float32(170 * gloss)
    return np.asarray(base * diffuse[..., None] + highlight[..., None], dtype=np.float32)


def _mix(a: NDArray[np.float32], b: Colour, share: Plane) -> NDArray[np.float32]:
    return np.asarray(a + (np.array(b, dtype=np.float32) - a) * share[..., None], dtype=np.float32)


def _mottle(canvas: _Canvas, shape: tuple[int, ...], rng: np.random.Generator, cell: float) -> Plane:
    size = max(1.5, cell * canvas.scale)
    return value_noise(rng, (shape[1], shape[0]), (size, size))


def _draw_body(canvas: _Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    _draw_abdomen(canvas, look, rng)
    _draw_head(canvas, look, rng)
    _draw_thorax(canvas, look, rng)


def _draw_abdomen(canvas: _Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=0.085, length=0.585, radius=0.17, taper=0.55, bend=canvas.pose.bend)
    surface = _surface(canvas, part, look.stoutness)
    shape = surface.cover.shape
    wobble = (_mottle(canvas, shape, rng, 0.05) - 0.5) * 0.02
    # Five rings show behind the first; the rings' edges bow towards the tip on the flanks.
    place = (surface.along + wobble - 0.03 * (1 - surface.normal[2])) * 5.6 + 0.15
    ring = place - np.floor(place)
    base = np.broadcast_to(np.array(look.amber, dtype=np.float32), (*shape, 3))
    flank = np.clip(np.cos(surface.around), -1, 1)
    darkness = np.clip((ring - (1 - look.band)) * 7 + 0.5, 0, 1)
    base = _mix(base, look.dark, darkness)
    tip = np.clip((surface.along - (1 - look.tip)) * 8 + 0.5, 0, 1)
    base = _mix(base, look.dark, tip)
    pale = np.clip(1 - np.abs(ring - 0.16) * 6, 0, 1) * np.float32(look.hairband_strength)
    base = _mix(base, look.hairband, pale * (1 - 0.7 * tip))
    base = _mix(base, look.hairband, np.clip(-flank, 0, 1) * 0.35)
    base = base * (0.78 + 0.44 * _mottle(canvas, shape, rng, 0.012))[..., None]
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=look.gloss), surface.cover, solid=surface.cover)


def _draw_thorax(canvas: _Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    surface = _surface(canvas, _Part(front=0.355, length=0.31, radius=0.15), look.stoutness)
    shape = surface.cover.shape
    base = np.broadcast_to(np.array(look.fur, dtype=np.float32), (*shape, 3))
    # The middle of the back is often rubbed bare and dark.
    bare = np.clip(np.cos(surface.around) - 0.75, 0, 1) * 3 * np.clip(1 - np.abs(surface.along - 0.55) * 3, 0, 1)
    base = _mix(base, look.dark, np.clip(bare, 0, 0.75))
    base = base * (0.55 + 0.9 * _mottle(canvas, shape, rng, 0.014))[..., None]
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=0.04), surface.cover, solid=surface.cover)
    _draw_hair(canvas, look, rng)


def _draw_hair(canvas: _Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    """Let short hairs stand off the thorax and the front of the abdomen."""
    if canvas.scale < 60:
        return
    count = 90
    angles = rng.uniform(0, 2 * math.pi, count)
    lengths = rng.uniform(0.01, 0.04, count)
    start = np.stack([0.2 + 0.15 * np.cos(angles), 0.145 * look.stoutness * np.sin(angles)], axis=1)
    lean = angles + rng.normal(0, 0.5, count)
    end = start + np.stack([np.cos(lean), np.sin(lean)], axis=1) * lengths[:, None]
    mask = np.zeros((canvas.side, canvas.side), dtype=np.uint8)
    lines = ((np.stack([start, end], axis=1) * canvas.scale + canvas.side / 2) * 16).round().astype(np.int32)
    cv2.polylines(mask, list(lines), False, 255, 1, cv2.LINE_AA, 4)
    where = canvas.patch(0.0, -0.22, 0.42, 0.22)
    colour = np.array(look.fur, dtype=np.float32) * 0.9
    canvas.lay(where, colour, mask[where].astype(np.float32) * np.float32(0.5 / 255))


def _draw_head(canvas: _Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    surface = _surface(canvas, _Part(front=0.5, length=0.165, radius=0.128), look.stoutness)
    shape = surface.cover.shape
    base = np.broadcast_to(np.array(look.dark, dtype=np.float32) * 1.3, (*shape, 3))
    face = np.clip(np.cos(surface.around) * 2 - 0.9, 0, 1) * _mottle(canvas, shape, rng, 0.014)
    base = _mix(np.asarray(base, dtype=np.float32), look.fur, face * 0.55)
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=0.5), surface.cover, solid=surface.cover)


def _draw_limbs(canvas: _Canvas, look: BeeLook, pose: BeePose) -> None:
    reach = pose.legs
    pairs = (  # hip, knee and foot of the fore, middle and hind legs, and the phase of their step
        ((0.28, 0.08), (0.36, 0.2), (0.46, 0.24), 0.0),
        ((0.2, 0.1), (0.17, 0.26), (0.1, 0.36), math.pi),
        ((0.13, 0.1), (0.0, 0.25), (-0.2, 0.32), 0.0),
    )
    for side in (-1, 1):
        for index, (hip, knee, foot, phase) in enumerate(pairs):
            swing = 0.05 * math.sin(pose.gait + phase + (math.pi if side < 0 else 0.0)) * reach
            near = canvas.rolled(hip[0], side * hip[1], -0.06)
            bent = canvas.rolled(
                hip[0] + (knee[0] - hip[0]) * reach + swing * 0.6, side * (hip[1] + (knee[1] - hip[1]) * reach), -0.06
            )
            far = canvas.rolled(
                hip[0] + (foot[0] - hip[0]) * reach + swing, side * (hip[1] + (foot[1] - hip[1]) * reach), -0.15
            )
            canvas.stroke([near, bent], width=0.036, colour=look.dark)
            canvas.stroke([bent, far], width=0.042 if index == 2 else 0.026, colour=look.dark)
            if look.pollen and index == 2:
                middle = ((bent[0] + far[0]) / 2, (bent[1] + far[1]) / 2)
                canvas.stroke([bent, middle], width=0.08, colour=look.pollen)
        elbow = canvas.rolled(0.56, side * 0.06, 0.0)
        tip = canvas.rolled(0.62, side * (0.13 + 0.03 * math.sin(pose.gait + side)), 0.0)
        canvas.stroke([canvas.rolled(0.48, side * 0.03, 0.0), elbow, tip], width=0.018, colour=look.dark)


_FORE_WING = ((0.0, 0.0), (0.25, -0.055), (0.6, -0.1), (0.88, -0.09), (0.985, -0.03), (1.0, 0.05),
              (0.93, 0.15), (0.75, 0.21), (0.5, 0.19), (0.25, 0.1), (0.08, 0.03))  # fmt: skip
_HIND_WING = ((0.0, 0.0), (0.3, -0.04), (0.65, -0.06), (0.92, -0.02), (1.0, 0.06), (0.9, 0.15),
              (0.65, 0.19), (0.35, 0.14), (0.1, 0.04))  # fmt: skip
_VEINS = (((0.0, 0.0), (0.4, -0.05), (0.85, -0.06)), ((0.1, 0.0), (0.45, 0.03), (0.9, 0.06)),
          ((0.15, 0.02), (0.45, 0.1), (0.75, 0.17)), ((0.45, -0.04), (0.5, 0.1), (0.48, 0.18)),
          ((0.68, -0.05), (0.7, 0.06), (0.66, 0.16)))  # fmt: skip


def _draw_wings(canvas: _Canvas, look: BeeLook, pose: BeePose) -> None:
    steps = 1 if pose.wing_beat < 0.05 else 5
    for side, angle in zip((-1, 1), pose.wing_angle, strict=True):
        for shape, size, hinge, lag in (
            (_HIND_WING, 0.46, (0.15, 0.09), 0.14),
            (_FORE_WING, 0.68, (0.22, 0.1), 0.0),
        ):
            for step in range(steps):
                beat = pose.wing_beat * (step / (steps - 1) - 0.5) if steps > 1 else 0.0
                _draw_wing(canvas, look, shape, size=size, hinge=hinge, side=side,
                           angle=angle - lag + beat, share=1 / steps)  # fmt: skip


def _draw_wing(
    canvas: _Canvas,
    look: BeeLook,
    outline: tuple[tuple[float, float], ...],
    *,
    size: float,
    hinge: tuple[float, float],
    side: int,
    angle: float,
    share: float,
) -> None:
    cos, sin = math.cos(angle), math.sin(angle)

    def place(u: float, v: float) -> tuple[float, float]:
        u, v = u * size, -v * size * 1.15
        x = hinge[0] - u * cos - v * sin
        y = hinge[1] + u * sin - v * cos
        return canvas.rolled(x, side * y, 0.1 + 0.12 * u)

    points = np.array([place(u, v) for u, v in outline])
    low, high = points.min(axis=0), points.max(axis=0)
    where = canvas.patch(low[0], low[1], high[0], high[1])
    mask = np.zeros((where[0].stop - where[0].start, where[1].stop - where[1].start), dtype=np.uint8)
    if mask.size == 0:
        return

    def path(places: NDArray[np.float64]) -> NDArray[np.int32]:
        pixels = places * canvas.scale + canvas.side / 2 - np.array([where[1].start, where[0].start])
        return (pixels * 16).round().astype(np.int32)

    cv2.fillPoly(mask, [path(points)], 255, cv2.LINE_AA, 4)
    veins = np.zeros_like(mask)
    lines = [path(np.array([place(u, v) for u, v in vein])) for vein in _VEINS] + [path(points)]
    cv2.polylines(veins, lines, False, 255, max(1, round(0.009 * canvas.scale)), cv2.LINE_AA, 4)
    cover = mask.astype(np.float32) / 255
    glint = np.linspace(0, 1, mask.shape[1], dtype=np.float32)[None, ::-1] * look.wing_glint
    tint = np.array(look.wing_tint, dtype=np.float32) + (glint * 110)[..., None]
    # A wing that sweeps leaves a share of its opacity at each place that it passes.
    opacity = look.wing_opacity + 0.3 * look.wing_glint
    solid = cover if share == 1 else np.where(cover * share * opacity > 0.04, cover, 0).astype(np.float32)
    canvas.lay(where, tint, cover * np.float32(opacity * share**0.7), solid=solid)
    canvas.lay(
        where, np.array(look.dark, dtype=np.float32) * 1.8, veins.astype(np.float32) / 255 * np.float32(0.5 * share)
    )
