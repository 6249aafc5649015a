"""A scene in motion: one hive entrance, one camera, bees that come, walk, fly and leave."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.bee import draw_bee
from beeagent.camera.synthetic.behaviour import Bee, Colony, Ground
from beeagent.camera.synthetic.drawing import Image
from beeagent.camera.synthetic.look import BeePose, random_look
from beeagent.camera.synthetic.sprite import (
    Box,
    Placed,
    Sprite,
    Stamp,
    as_sprite,
    over_shadow,
    paste,
    recoloured,
    shadow_of,
    smeared,
    turned,
    turned_shadow,
    visible_box_of_each,
    visible_boxes,
)
from beeagent.camera.synthetic.surroundings import daylight, entrance, lit, noisy, strew, toned

_LOOKS = 4
_GRAINS = 3
_FLYING_SHADOW = 4.0
"""How much farther from a bee its shadow falls when it flies."""

_GAITS = 4
_WING_PHASES = 3
_HEADINGS = 48
_MAX_CACHE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One drawn image and its ground truth.

    Attributes:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, within the image, tight around the
            visible part of each bee's body and wings; legs, antennae, shadows and motion blur lie outside.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


class BeesInMotion(Protocol):
    """The bees of a scene, and their movement."""

    @property
    def bees(self) -> Sequence[Bee]:
        """Those in the scene at the current time."""

    def advance(self, seconds: float) -> None:
        """Advance the time."""


class Scene:
    """A hive entrance with bees, drawn frame by frame; the same options give the same frames.

    Everything slow is done once, here; a frame costs a copy of the background and a small rectangle per bee.

    Args:
        options: of the scene.
        bees_in_motion: makes the bees from the source of randomness, the ground and the length in pixels of each
            individual; None for a `Colony`.
    """

    def __init__(
        self,
        options: SceneOptions,
        *,
        bees_in_motion: Callable[[np.random.Generator, Ground, tuple[float, ...]], BeesInMotion] | None = None,
    ) -> None:
        self.options = options
        rng = np.random.default_rng(options.seed)
        size = (options.width, options.height)
        length = max(size) * float(rng.uniform(*options.bee_length))
        place = entrance(rng, width=options.width, height=options.height)
        strew(rng, place.image)
        self._light = daylight(rng, width=options.width, height=options.height)
        image = lit(place.image, self._light)
        exposure = float(np.clip(rng.uniform(105, 150) / max(float(image.mean()), 1.0), 0.7, 2.5))
        tint = float(rng.normal(0, 0.05))
        balance = (exposure * (1 - tint), exposure, exposure * (1 + tint))
        # Sensor noise that changes from frame to frame, at no cost: a few noisy copies alternate.
        image = toned(image, gains=balance)
        self._backgrounds = [noisy(rng, image, sigma=2.0, coarse=False) for _ in range(_GRAINS)]
        angle = float(rng.uniform(0.2, math.pi - 0.2))
        self._sun = _Sun(x=math.cos(angle) * 0.1 * length, y=math.sin(angle) * 0.1 * length)
        lengths = tuple(length * float(rng.uniform(0.9, 1.1)) for _ in range(_LOOKS))
        self._stamps = _StampCache(rng, lengths=lengths, sun=self._sun, gains=balance)
        self._slot_top = place.slot[1]
        ground = Ground(width=options.width, height=options.height, slot=place.slot)
        self._colony: BeesInMotion = (
            Colony(rng, ground=ground, bees=options.bees, lengths=lengths)
            if bees_in_motion is None
            else bees_in_motion(rng, ground, lengths)
        )
        self._frames = 0

    def advance(self, seconds: float | None = None) -> None:
        """Advance the time: bees walk, fly, enter and leave.

        Args:
            seconds: 0 or more; one frame's time by default.
        """
        self._colony.advance(1 / self.options.fps if seconds is None else seconds)
        self._frames += 1

    def image(self) -> NDArray[np.uint8]:
        """Draw the scene at its current time, without computing the boxes.

        Returns:
            uint8, shape (height, width, 3), BGR, in memory of its own.
        """
        return self._draw()[0]

    def render(self) -> SceneFrame:
        """Draw the scene at its current time, which does not advance.

        Returns:
            The image, in memory of its own, and the boxes of the visible bees: those of which at least 25 % can be
            seen, and at least 8 pixels.
        """
        image, placed = self._draw()
        return SceneFrame(pixels=image, boxes=visible_boxes(image.shape[:2], placed))

    def render_each(self) -> tuple[NDArray[np.uint8], list[tuple[Bee, Box]]]:
        """Draw the scene as `render` does.

        Returns:
            The image, and each visible bee with its box.
        """
        image, placed = self._draw()
        boxes = visible_box_of_each(image.shape[:2], placed)
        return image, [(bee, box) for bee, box in zip(self._drawn_bees(), boxes, strict=True) if box is not None]

    def _drawn_bees(self) -> list[Bee]:
        """Return the bees in drawing order: those in the air, with their shadows, are nearer to the camera."""
        return sorted(self._colony.bees, key=lambda bee: bee.flying)

    def _draw(self) -> tuple[NDArray[np.uint8], list[Placed]]:
        image = self._backgrounds[self._frames % _GRAINS].copy()
        placed: list[Placed] = []
        for bee in self._drawn_bees():
            centre = (round(bee.x), round(bee.y))
            stamps = self._stamps.stamps(bee)
            if stamps.shadow is not None:
                x, y = bee.x + _FLYING_SHADOW * self._sun.x, bee.y + _FLYING_SHADOW * self._sun.y
                paste(image, Placed(stamp=stamps.shadow, centre=(round(x), round(y))))
            # The hive's front hides a bee that is in the entrance.
            top = self._slot_top if bee.by_slot else 0
            placed.append(Placed(stamp=stamps.body, centre=centre, top=top, light=self._light_on(bee)))
            paste(image, placed[-1])
        return image, placed

    def _light_on(self, bee: Bee) -> float:
        x = min(max(round(bee.x), 0), self.options.width - 1)
        y = min(max(round(bee.y), 0), self.options.height - 1)
        return float(self._light[y, x])


@dataclass(frozen=True, slots=True)
class _Sun:
    """Offset of a walking bee's shadow to the right and below, in pixels."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class _BeeStamps:
    """A bee as it is pasted; one in flight has a separate shadow at a distance."""

    body: Stamp
    shadow: Stamp | None

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.body.nbytes + (self.shadow.nbytes if self.shadow else 0)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A bee heading to the right in one phase of its movement, and its shadow."""

    sprite: Sprite
    shadow: Image


class _StampCache:
    """The stamps of the scene's individuals in any heading; beyond 16 MB the least recently used are dropped.

    `lengths` are the body lengths in pixels, one for each individual; `gains` are factors for B, G and R: exposure and
    white balance.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        lengths: tuple[float, ...],
        sun: _Sun,
        gains: tuple[float, float, float],
    ) -> None:
        self._sun = sun
        colony = random_look(rng)
        self._walking: list[list[_Phase]] = []
        self._flying: list[list[_Phase]] = []
        for length in lengths:
            look = replace(random_look(rng), amber=colony.amber, dark=colony.dark, fur=colony.fur)
            roll, folded = float(rng.normal(0, 0.2)), float(rng.uniform(0.06, 0.4))
            # The same hair in every phase, or the fur would flicker.
            hairs = int(rng.integers(2**32))
            walk, fly = [], []
            for k in range(_GAITS):
                pose = BeePose(wing_angle=(folded, folded), roll=roll, gait=2 * math.pi * k / _GAITS)
                sprite = draw_bee(look, pose, length=length, rng=np.random.default_rng(hairs))
                walk.append(_phase(recoloured(sprite, gains), softness=max(0.6, 0.03 * length), strength=0.55))
            for angle in np.linspace(1.2, 1.7, _WING_PHASES):
                pose = BeePose(wing_angle=(angle, angle), wing_beat=0.8, roll=roll / 2, legs=0.4)
                sprite = draw_bee(look, pose, length=length, rng=np.random.default_rng(hairs))
                sprite = smeared(recoloured(sprite, gains), along=0.1 * length, across=0)
                fly.append(_phase(sprite, softness=max(0.8, 0.1 * length), strength=0.3))
            self._walking.append(walk)
            self._flying.append(fly)
        self._cache: OrderedDict[tuple[int, bool, int, int], _BeeStamps] = OrderedDict()
        self._cached_bytes = 0

    def stamps(self, bee: Bee) -> _BeeStamps:
        """Return the stamps of a bee in its heading and phase of movement, each to the nearest step."""
        phases = _WING_PHASES if bee.flying else _GAITS
        phase = int(bee.gait / (2 * math.pi) * phases) % phases
        heading = round(bee.heading / (2 * math.pi) * _HEADINGS) % _HEADINGS
        key = (bee.look, bee.flying, phase, heading)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        drawn = (self._flying if bee.flying else self._walking)[bee.look][phase]
        made = self._make(drawn, heading=2 * math.pi * heading / _HEADINGS, flying=bee.flying)
        self._cache[key] = made
        self._cached_bytes += made.nbytes
        while self._cached_bytes > _MAX_CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return made

    def _make(self, drawn: _Phase, *, heading: float, flying: bool) -> _BeeStamps:
        sprite = turned(drawn.sprite, heading=heading)
        shadow = turned_shadow(drawn.shadow, heading=heading)
        if flying:
            return _BeeStamps(body=Stamp(sprite), shadow=Stamp(as_sprite(shadow)))
        return _BeeStamps(
            body=Stamp(over_shadow(sprite, shadow, (round(self._sun.x), round(self._sun.y)))), shadow=None
        )


def _phase(sprite: Sprite, *, softness: float, strength: float) -> _Phase:
    return _Phase(sprite=sprite, shadow=shadow_of(sprite, softness=softness, strength=strength))
