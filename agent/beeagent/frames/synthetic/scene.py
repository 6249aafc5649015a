"""A scene that goes on: one hive entrance, one camera, bees that come, walk, fly and leave."""

import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np

from beeagent.frames.synthetic.background import clutter, daylight, entrance
from beeagent.frames.synthetic.bee import BeePose, draw_bee, random_look
from beeagent.frames.synthetic.behaviour import Bee, Colony, Ground
from beeagent.frames.synthetic.camera import lit, noisy, toned
from beeagent.frames.synthetic.motion import motion_kernel
from beeagent.frames.synthetic.options import SceneOptions
from beeagent.frames.synthetic.scene_frame import SceneFrame
from beeagent.frames.synthetic.sprite import (
    Image,
    Placed,
    Sprite,
    blurred,
    paste,
    shadow_of,
    trimmed,
    turned,
    visible_boxes,
    with_shadow,
)

_LOOKS = 4
_GAITS = 4
_WING_PHASES = 3
_HEADINGS = 72
_GRAINS = 3
_CACHE_BYTES = 40_000_000


class Scene:
    """A hive entrance with bees, drawn frame by frame; the same options give the same frames.

    Everything slow is done once, here; a frame costs a copy of the background and a small rectangle a bee.

    Args:
        options: what to draw.
    """

    def __init__(self, options: SceneOptions) -> None:
        self.options = options
        rng = np.random.default_rng(options.seed)
        size = max(options.width, options.height)
        length = size * float(rng.uniform(*options.bee_length))
        place = entrance(rng, width=options.width, height=options.height)
        clutter(rng, place.picture)
        self._light = daylight(rng, width=options.width, height=options.height)
        self._exposure = float(rng.uniform(0.85, 1.2))
        tint = float(rng.normal(0, 0.05))
        self._balance = (1 - tint, 1.0, 1 + tint)
        background = self._toned(lit(place.picture, self._light))
        # Sensor noise that changes from frame to frame, at no cost: a few grainy copies take turns.
        self._backgrounds = [noisy(rng, background, sigma=2.0, coarse=False) for _ in range(_GRAINS)]
        self._slot = place.slot
        sizes = tuple(float(rng.uniform(0.9, 1.1)) for _ in range(_LOOKS))
        self._colony = Colony(
            rng,
            ground=Ground(width=options.width, height=options.height, slot=place.slot),
            bees=options.bees,
            length=length,
            looks=sizes,
        )
        self._drawn = self._draw_individuals(rng, length, sizes)
        self._length = length
        angle = float(rng.uniform(0.2, math.pi - 0.2))
        self._shadow = (math.cos(angle) * 0.1 * length, math.sin(angle) * 0.1 * length)
        self._cache: OrderedDict[tuple[int, bool, int, int], tuple[Sprite, Sprite | None]] = OrderedDict()
        self._cached_bytes = 0
        self._frames = 0

    def _toned(self, picture: Image) -> Image:
        return toned(picture, exposure=self._exposure, balance=self._balance, gamma=1.0, black=0.0)

    def _draw_individuals(
        self, rng: np.random.Generator, length: float, sizes: tuple[float, ...]
    ) -> list[tuple[list[Sprite], list[Sprite]]]:
        """Draw each individual in every phase of its walk and of its flight."""
        individuals = []
        colony = random_look(rng)
        for size in sizes:
            look = replace(random_look(rng), amber=colony.amber, dark=colony.dark, fur=colony.fur)
            roll, folded = float(rng.normal(0, 0.2)), float(rng.uniform(0.1, 0.45))
            hairs = int(rng.integers(2**32))
            walking = [
                BeePose(wing_angle=(folded, folded), roll=roll, gait=2 * math.pi * k / _GAITS) for k in range(_GAITS)
            ]
            flying = [
                BeePose(wing_angle=(a, a), wing_beat=0.8, roll=roll / 2, legs=0.4)
                for a in np.linspace(1.2, 1.7, _WING_PHASES)
            ]
            # The same hair in every phase, or the fur would flicker.
            walk, fly = (
                [
                    self._finished(draw_bee(look, pose, length=length * size, rng=np.random.default_rng(hairs)))
                    for pose in poses
                ]
                for poses in (walking, flying)
            )
            smear = motion_kernel(max(1.0, 0.08 * length), 0.0)
            individuals.append((walk, [blurred(sprite, smear) for sprite in fly]))
        return individuals

    def _finished(self, sprite: Sprite) -> Sprite:
        return replace(trimmed(sprite), colour=self._toned(trimmed(sprite).colour))

    def advance(self, seconds: float | None = None) -> None:
        """Let time pass: bees walk, fly, enter and leave.

        Args:
            seconds: how long; one frame's time by default.
        """
        self._colony.advance(1 / self.options.fps if seconds is None else seconds)
        self._frames += 1

    def render(self) -> SceneFrame:
        """Draw the scene as it is now; nothing moves by it.

        Returns:
            The picture, in memory of its own, and the boxes of the bees that can be seen: at least 25 % of them
            and at least 8 pixels long.
        """
        picture = self._backgrounds[self._frames % _GRAINS].copy()
        placed: list[Placed] = []
        # Those on foot first; those in the air are nearer to the camera, and so are their shadows.
        for bee in sorted(self._colony.bees, key=lambda bee: bee.flying):
            sprite, shadow = self._sprite(bee)
            middle = (round(bee.x), round(bee.y))
            if shadow is not None:
                offset = (round(middle[0] + 4 * self._shadow[0]), round(middle[1] + 4 * self._shadow[1]))
                paste(picture, Placed(sprite=shadow, middle=offset))
            one = Placed(
                sprite=sprite, middle=middle, top=self._slot[1] if bee.by_slot else 0, light=self._light_at(middle)
            )
            paste(picture, one)
            placed.append(one)
        shape = (self.options.height, self.options.width)
        return SceneFrame(pixels=picture, boxes=visible_boxes(shape, placed))

    def _light_at(self, middle: tuple[int, int]) -> float:
        x = min(max(middle[0], 0), self.options.width - 1)
        y = min(max(middle[1], 0), self.options.height - 1)
        return float(self._light[y, x])

    def _sprite(self, bee: Bee) -> tuple[Sprite, Sprite | None]:
        phases = _WING_PHASES if bee.flying else _GAITS
        phase = int(bee.gait / (2 * math.pi) * phases) % phases
        heading = round(bee.heading / (2 * math.pi) * _HEADINGS) % _HEADINGS
        key = (bee.look, bee.flying, phase, heading)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        drawn = self._drawn[bee.look][bee.flying][phase]
        sprite = trimmed(turned(drawn, heading=2 * math.pi * heading / _HEADINGS))
        shadow = None
        if bee.flying:
            shadow = trimmed(shadow_of(sprite, softness=max(0.8, 0.1 * self._length), strength=0.3))
        else:
            offset = (round(self._shadow[0]), round(self._shadow[1]))
            sprite = trimmed(with_shadow(sprite, offset=offset, softness=max(0.6, 0.03 * self._length), strength=0.5))
        self._cache[key] = (sprite, shadow)
        self._cached_bytes += _size(sprite, shadow)
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self._cached_bytes -= _size(*old)
        return sprite, shadow


def _size(*sprites: Sprite | None) -> int:
    return sum(s.colour.nbytes + s.passing.nbytes + s.solid.nbytes for s in sprites if s is not None)
