"""Procedural rendering of a honeybee, with the proportions of a worker of Apis mellifera.

Head, thorax and abdomen are shaded bodies of revolution. The surface normal determines the shading, and the position
along and around the axis the colour: so one routine renders a bee from above, from the side and from below.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.canvas import BeePose, Canvas, Line, Patch, as_share, blank
from beeagent.camera.synthetic.drawing import Colour, Plane, draw_line, draw_shape, value_noise
from beeagent.camera.synthetic.sprite import Sprite, trimmed

_SIDE = 1.9
"""Width and height of the drawing in body lengths: room for spread wings, legs and antennae."""

_FACTORS = ((110, 1.5), (60, 2.0), (24, 3.0), (0, 4.0))
"""Supersampling: minimum body length in pixels, and factor by which the bee is drawn larger."""

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
"""Outline, length in body lengths, hinge, and lag behind the fore wing in radians, of each kind of wing."""

_MIN_WING_COVER = 0.12
"""Minimum coverage of a pixel swept by a wing that belongs in the box."""


@dataclass(frozen=True, slots=True)
class BeeLook:
    """The appearance of one bee. Colours are BGR, 0 to 255.

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
        abdomen: length of the abdomen in body lengths.
        wing_tint: colour of the wing membrane.
        wing_opacity: 0 to 1.
        wing_glint: brightness of the light reflected by the wings, 0 to 1.
        pollen: colour of the loads on the hind legs; None for no loads.
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
    abdomen: float
    wing_tint: Colour
    wing_opacity: float
    wing_glint: float
    pollen: Colour | None


def random_look(rng: np.random.Generator) -> BeeLook:
    """Return a random appearance, from light Italian over striped grey Carniolan to almost black."""
    melanin = float(rng.beta(0.9, 1.3))
    grey = float(rng.random()) ** 2.5

    def mixed(light: Colour, deep: Colour, share: float, spread: float = 0.12) -> Colour:
        factor = float(rng.normal(1, spread))
        b, g, r = (factor * (a + (z - a) * share) for a, z in zip(light, deep, strict=True))
        mean, washed = (b + g + r) / 3, 0.5 * grey
        return (b + (mean - b) * washed, g + (mean - g) * washed, r + (mean - r) * washed)

    return BeeLook(
        amber=mixed((38, 128, 218), (26, 60, 112), melanin**1.2, 0.15),
        dark=mixed((24, 34, 54), (14, 17, 22), melanin, 0.25),
        fur=mixed((62, 138, 196), (44, 78, 112), melanin, 0.18),
        hairband=mixed((122, 176, 214), (130, 158, 176), melanin),
        band=float(np.clip(rng.uniform(0.22, 0.5) + 0.35 * melanin, 0, 0.9)),
        hairband_strength=float(rng.uniform(0.0, 0.95)),
        tip=float(rng.uniform(0.04, 0.28) + 0.12 * melanin),
        gloss=float(rng.random() ** 2 * 0.8),
        stoutness=float(rng.normal(1.0, 0.08)),
        abdomen=float(rng.uniform(0.5, 0.6)),
        wing_tint=mixed((150, 168, 188), (88, 108, 130), float(rng.random()), 0.12),
        wing_opacity=float(rng.uniform(0.08, 0.4)),
        wing_glint=float(rng.random() ** 3),
        pollen=_pollen(rng) if rng.random() < 0.12 else None,
    )


def _pollen(rng: np.random.Generator) -> Colour:
    """Return a random colour of pollen: from white over yellow to orange."""
    return (float(rng.uniform(10, 110)), float(rng.uniform(120, 210)), float(rng.uniform(180, 245)))


def draw_bee(look: BeeLook, pose: BeePose, *, length: float, rng: np.random.Generator) -> Sprite:
    """Draw one bee heading to the right, with supersampling.

    Args:
        look: appearance of the bee.
        pose: pose of the bee.
        length: length of the body in pixels, at least 1.
        rng: random generator for hair and mottling.

    Returns:
        A sprite whose centre is the centre of the body, without a shadow.
    """
    side = max(4, round(_SIDE * length))
    # Small bees need more supersampling; lines are smooth at any size.
    factor = next(factor for threshold, factor in _FACTORS if length >= threshold)
    canvas = Canvas(round(side * factor), scale=length * factor, pose=pose)
    upright = math.cos(pose.roll) > 0
    (_draw_legs if upright else _draw_wings)(canvas, look, pose)
    for draw in (_draw_abdomen, _draw_head, _draw_thorax):  # the thorax overlaps both others
        draw(canvas, look, rng)
    (_draw_wings if upright else _draw_legs)(canvas, look, pose)
    return trimmed(canvas.sprite(side))


@dataclass(frozen=True, slots=True)
class _Part:
    """One body of revolution, from `front` backwards over `length`, with a maximum radius of `radius`.

    `taper` thins its rear, `bend` curves it to one side, `fuzz` is the unevenness of its edge due to hair.
    """

    front: float
    length: float
    radius: float
    taper: float = 0.0
    bend: float = 0.0
    fuzz: float = 0.0


@dataclass(frozen=True, slots=True)
class _Surface:
    """The surface of a part as seen from above: position along it, angle around it, normal, coverage."""

    where: Patch
    along: Plane
    around: Plane
    normal: tuple[Plane, Plane, Plane]
    cover: Plane


def _surface(canvas: Canvas, part: _Part, rng: np.random.Generator) -> _Surface:
    room = part.radius + abs(part.bend) * part.length**2 + part.fuzz
    where = canvas.patch(part.front - part.length, -room, part.front, room)
    x, y = canvas.coordinates(where)
    along = np.clip((part.front - x) / part.length, 0, 1)
    profile = part.radius * np.maximum(1 - (2 * along - 1) ** 2, 0) ** 0.43
    profile *= 1 - part.taper * np.clip(along - 0.35, 0, 1) ** 1.5
    slope = np.gradient(profile, x[1] - x[0]) if len(x) > 1 else np.zeros_like(profile)
    offset = y[:, None] - (part.bend * (part.front - x) ** 2)[None, :]
    if part.fuzz:
        offset = np.abs(offset) + (_mottle(canvas, offset.shape, rng, 0.012) - 0.5) * np.float32(2 * part.fuzz)
        offset = np.copysign(offset, y[:, None])
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


def _blend_lit(canvas: Canvas, surface: _Surface, base: NDArray[np.float32], *, gloss: float = 0.0) -> None:
    """Light a part by the sky from above and the sun from one side, with a highlight, and blend it over the drawing."""
    lit = sum((n * c for n, c in zip(surface.normal, canvas.light, strict=True)), np.float32(0))
    diffuse = np.clip(lit, 0, 1) * np.float32(0.8) + np.float32(0.16) + np.float32(0.16) * surface.normal[2]
    colour = base * diffuse[..., None]
    if gloss:
        shine = sum((n * c for n, c in zip(surface.normal, canvas.half, strict=True)), np.float32(0))
        colour += (np.clip(shine, 0, 1) ** 20 * np.float32(170 * gloss))[..., None]
    canvas.blend(surface.where, np.asarray(colour, dtype=np.float32), surface.cover, solid=surface.cover)


def _even(colour: Colour, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.broadcast_to(np.array(colour, dtype=np.float32), (*shape, 3))


def _mix(a: NDArray[np.float32], b: Colour, share: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(a + (np.array(b, dtype=np.float32) - a) * share[..., None].astype(np.float32), dtype=np.float32)


def _mottle(canvas: Canvas, shape: tuple[int, ...], rng: np.random.Generator, cell: float) -> Plane:
    size = max(1.5, cell * canvas.scale)
    return value_noise(rng, (shape[1], shape[0]), (size, size))


def _draw_abdomen(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=look.abdomen - 0.5, length=look.abdomen, radius=0.17 * look.stoutness, taper=0.62,
                 bend=canvas.pose.bend, fuzz=0.004)  # fmt: skip
    surface = _surface(canvas, part, rng)
    tips = np.clip((surface.along - (1 - look.tip)) * 8 + 0.5, 0, 1)
    # Five rings show behind the first; their edges bow on the flanks, and their hair makes them uneven.
    wobble = (_mottle(canvas, surface.cover.shape, rng, 0.03) - 0.5) * np.float32(0.03)
    place = (surface.along + wobble - np.float32(0.04) * (1 - surface.normal[2])) * np.float32(5.6) + np.float32(0.15)
    ring = place - np.floor(place)
    band = look.band + 0.3 * (surface.along - 0.45)
    base = _mix(_even(look.amber, surface.cover.shape), look.dark, np.clip((ring - (1 - band)) * 6 + 0.5, 0, 1))
    base = _mix(base, look.dark, tips)
    pale = np.clip(1 - np.abs(ring - 0.16) * 6, 0, 1) * look.hairband_strength * (1 - 0.7 * tips)
    base = _mix(base, look.hairband, pale)
    belly = np.clip(-np.cos(surface.around), 0, 1)
    base = _mix(base, look.hairband, belly * 0.35)
    grain = np.float32(0.74) + np.float32(0.52) * _mottle(canvas, surface.cover.shape, rng, 0.012)
    base = np.asarray(base * grain[..., None], dtype=np.float32)
    _blend_lit(canvas, surface, base, gloss=look.gloss)


def _draw_thorax(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=0.375, length=0.35, radius=0.158 * look.stoutness, fuzz=0.022)
    surface = _surface(canvas, part, rng)
    base = _even(look.fur, surface.cover.shape)
    # The middle of the back is often rubbed bare and dark.
    bare = np.clip(np.cos(surface.around) - 0.8, 0, 1) * 4 * np.clip(1 - np.abs(surface.along - 0.5) * 3.5, 0, 1)
    base = _mix(base, look.dark, np.clip(bare, 0, 0.8))
    fine = _mottle(canvas, surface.cover.shape, rng, 0.01) * np.float32(0.6)
    coarse = _mottle(canvas, surface.cover.shape, rng, 0.03) * np.float32(0.5)
    base = np.asarray(base * (fine + coarse + np.float32(0.48))[..., None], dtype=np.float32)
    _blend_lit(canvas, surface, base)
    _draw_hair(canvas, look, rng)


def _draw_hair(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    """Draw short hairs that stand off the thorax."""
    if canvas.scale < 150:
        return
    count = 110
    angles = rng.uniform(0, 2 * math.pi, count)
    start = np.stack([0.2 + 0.165 * np.cos(angles), 0.15 * look.stoutness * np.sin(angles)], axis=1)
    lean = angles + rng.normal(0, 0.5, count)
    end = start + np.stack([np.cos(lean), np.sin(lean)], axis=1) * rng.uniform(0.01, 0.05, count)[:, None]
    where = canvas.patch(-0.02, -0.24, 0.43, 0.24)
    mask = blank(where)
    for line in canvas.pixels(np.stack([start, end], axis=1), where):
        draw_line(mask, line, (130.0, 0, 0))
    canvas.blend(where, np.array(look.fur, dtype=np.float32) * np.float32(0.95), as_share(mask))


def _draw_head(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=0.5, length=0.17, radius=0.122 * look.stoutness, fuzz=0.004)
    surface = _surface(canvas, part, rng)
    # Fur in the middle, and the eyes, dark and shiny, on both sides.
    base = _even((look.dark[0] * 1.2, look.dark[1] * 1.2, look.dark[2] * 1.2), surface.cover.shape)
    hair = _mottle(canvas, surface.cover.shape, rng, 0.014)
    face = np.clip(np.cos(surface.around) * 2.5 - 1.2, 0, 1) * (0.3 + 0.7 * hair)
    base = _mix(base, look.fur, face * 0.65)
    _blend_lit(canvas, surface, base, gloss=0.35)


def _draw_legs(canvas: Canvas, look: BeeLook, pose: BeePose) -> None:
    """Draw six legs in the middle of their step, pollen on the hind legs, and two antennae."""
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


def _draw_wings(canvas: Canvas, look: BeeLook, pose: BeePose) -> None:
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


@dataclass(frozen=True, slots=True)
class _Wing:
    """One wing: `size` long, hinged at `hinge`, on the left (-1) or right (1) side."""

    canvas: Canvas
    size: float
    hinge: tuple[float, float]
    side: int
    curve: NDArray[np.float64]

    def _placed(self, points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
        """Project points of the wing, along and across it, at an angle off the body's axis."""
        along, across = points[:, 0] * self.size, -points[:, 1] * self.size * 1.1
        x = self.hinge[0] - along * math.cos(angle) - across * math.sin(angle)
        y = self.side * (self.hinge[1] + along * math.sin(angle) - across * math.cos(angle))
        height = 0.1 + 0.12 * along
        roll = self.canvas.pose.roll
        return np.stack([x, y * math.cos(roll) - height * math.sin(roll)], axis=1)

    def draw(self, look: BeeLook, *, angle: float, beat: float) -> None:
        """Draw the wing at an angle, or swept over `beat` radians around it."""
        count = 1 + min(7, math.ceil(beat / 0.12))
        places = [self._placed(self.curve, angle + beat * (k / max(count - 1, 1) - 0.5)) for k in range(count)]
        where = self.canvas.patch_around([(p[0], p[1]) for p in np.concatenate(places)], 0)
        total = np.zeros_like(blank(where), dtype=np.float32)
        for outline in places:
            mask = blank(where)
            draw_shape(mask, self.canvas.pixels(outline, where), (255.0, 0, 0))
            total += as_share(mask)
        swept = np.asarray(total / count, dtype=np.float32)
        opacity = look.wing_opacity + 0.2 * look.wing_glint
        # A beating wing is at each position for a fraction of the time; it appears slightly more opaque than that.
        cover = np.asarray(swept**0.7 * opacity, dtype=np.float32)
        solid = (cover > _MIN_WING_COVER if count > 1 else swept > 0.5).astype(np.float32)
        glint = self._glint(where, angle) * 100 * look.wing_glint
        tint = np.array(look.wing_tint, dtype=np.float32) + glint[..., None]
        if count == 1:
            veins = self._veins(where, angle)
            dark = np.array(look.dark, dtype=np.float32) * np.float32(1.7)
            tint = np.asarray(tint + (dark - tint) * veins[..., None], dtype=np.float32)
            cover = np.maximum(cover, veins * np.float32(0.25 + 0.5 * opacity))
        self.canvas.blend(where, np.asarray(tint, dtype=np.float32), cover, solid=solid)

    def _glint(self, where: tuple[slice, slice], angle: float) -> Plane:
        """Return the light that the membrane reflects: a soft streak along the wing."""
        mask = blank(where)
        streak = self._placed(np.array([(0.3, 0.0), (0.95, 0.08)]), angle)
        width = max(1, round(0.1 * self.size * self.canvas.scale))
        draw_line(mask, self.canvas.pixels(streak, where), (255.0, 0, 0), thickness=width)
        return np.asarray(cv2.blur(as_share(mask), (width, width)), dtype=np.float32)

    def _veins(self, where: tuple[slice, slice], angle: float) -> Plane:
        mask = blank(where)
        strength, width = 200.0, max(1, round(0.006 * self.canvas.scale))
        for vein in _VEINS:
            line = self.canvas.pixels(self._placed(np.array(vein), angle), where)
            draw_line(mask, line, (strength, 0, 0), thickness=width)
        edge = self.canvas.pixels(self._placed(self.curve, angle), where)
        draw_line(mask, np.concatenate([edge, edge[:1]]), (strength, 0, 0), thickness=width)
        return as_share(mask)
