"""Head, thorax and abdomen of a bee, as shaded bodies of revolution.

Where a ray from above meets one, the surface normal gives the shading, and the place along and around the axis
gives the colour: so one routine shows a bee from above, from the side and from below.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.canvas import Canvas, Patch, as_share, blank
from beeagent.camera.synthetic.drawing import draw_line
from beeagent.camera.synthetic.look import BeeLook, Colour
from beeagent.camera.synthetic.noise import Plane, value_noise


@dataclass(frozen=True, slots=True)
class _Part:
    """One body of revolution: from `front` backwards over `length`, `radius` at its thickest.

    `taper` thins its rear, `bend` curves it to one side, `fuzz` is how far hair makes its edge uneven.
    """

    front: float
    length: float
    radius: float
    taper: float = 0.0
    bend: float = 0.0
    fuzz: float = 0.0


@dataclass(frozen=True, slots=True)
class _Surface:
    """What rays from above meet on a part: place along it, angle around it, normal, coverage."""

    where: Patch
    along: Plane
    around: Plane
    normal: tuple[Plane, Plane, Plane]
    cover: Plane

    @property
    def shape(self) -> tuple[int, int]:
        return (self.cover.shape[0], self.cover.shape[1])


def draw_body(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    """Draw abdomen, head and thorax, in this order: the thorax overlaps both others."""
    _draw_abdomen(canvas, look, rng)
    _draw_head(canvas, look, rng)
    _draw_thorax(canvas, look, rng)


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


def _shaded(canvas: Canvas, surface: _Surface, base: NDArray[np.float32], *, gloss: float) -> NDArray[np.float32]:
    """Light a part: sky from above, sun from one side, a highlight on what shines."""
    lit = sum((n * c for n, c in zip(surface.normal, canvas.light, strict=True)), np.float32(0))
    diffuse = np.clip(lit, 0, 1) * np.float32(0.8) + np.float32(0.16) + np.float32(0.16) * surface.normal[2]
    colour = base * diffuse[..., None]
    if gloss:
        shine = sum((n * c for n, c in zip(surface.normal, canvas.half, strict=True)), np.float32(0))
        colour += (np.clip(shine, 0, 1) ** 20 * np.float32(170 * gloss))[..., None]
    return np.asarray(colour, dtype=np.float32)


def _even(colour: Colour, shape: tuple[int, int]) -> NDArray[np.float32]:
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
    wobble = (_mottle(canvas, surface.shape, rng, 0.03) - 0.5) * np.float32(0.03)
    place = (surface.along + wobble - np.float32(0.04) * (1 - surface.normal[2])) * np.float32(5.6) + np.float32(0.15)
    ring = place - np.floor(place)
    band = look.band + 0.3 * (surface.along - 0.45)
    base = _mix(_even(look.amber, surface.shape), look.dark, np.clip((ring - (1 - band)) * 6 + 0.5, 0, 1))
    base = _mix(base, look.dark, tips)
    pale = np.clip(1 - np.abs(ring - 0.16) * 6, 0, 1) * look.hairband_strength * (1 - 0.7 * tips)
    base = _mix(base, look.hairband, pale)
    belly = np.clip(-np.cos(surface.around), 0, 1)
    base = _mix(base, look.hairband, belly * 0.35)
    grain = np.float32(0.74) + np.float32(0.52) * _mottle(canvas, surface.shape, rng, 0.012)
    base = np.asarray(base * grain[..., None], dtype=np.float32)
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=look.gloss), surface.cover, solid=surface.cover)


def _draw_thorax(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=0.375, length=0.35, radius=0.158 * look.stoutness, fuzz=0.022)
    surface = _surface(canvas, part, rng)
    base = _even(look.fur, surface.shape)
    # The middle of the back is often rubbed bare and dark.
    bare = np.clip(np.cos(surface.around) - 0.8, 0, 1) * 4 * np.clip(1 - np.abs(surface.along - 0.5) * 3.5, 0, 1)
    base = _mix(base, look.dark, np.clip(bare, 0, 0.8))
    fine = _mottle(canvas, surface.shape, rng, 0.01) * np.float32(0.6)
    base = np.asarray(base * (fine + _mottle(canvas, surface.shape, rng, 0.03) * np.float32(0.5) + np.float32(0.48))
                      [..., None], dtype=np.float32)  # fmt: skip
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=0), surface.cover, solid=surface.cover)
    _draw_hair(canvas, look, rng)


def _draw_hair(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    """Let short hairs stand off the thorax."""
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
    canvas.lay(where, np.array(look.fur, dtype=np.float32) * np.float32(0.95), as_share(mask))


def _draw_head(canvas: Canvas, look: BeeLook, rng: np.random.Generator) -> None:
    part = _Part(front=0.5, length=0.17, radius=0.122 * look.stoutness, fuzz=0.004)
    surface = _surface(canvas, part, rng)
    # Fur in the middle, and the eyes, dark and shiny, on both sides.
    base = _even((look.dark[0] * 1.2, look.dark[1] * 1.2, look.dark[2] * 1.2), surface.shape)
    face = np.clip(np.cos(surface.around) * 2.5 - 1.2, 0, 1) * (0.3 + 0.7 * _mottle(canvas, surface.shape, rng, 0.014))
    base = _mix(base, look.fur, face * 0.65)
    canvas.lay(surface.where, _shaded(canvas, surface, base, gloss=0.35), surface.cover, solid=surface.cover)
