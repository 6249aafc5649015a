"""A scene that goes on: one hive entrance, one camera, bees that come, walk, fly and leave."""

import math

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.background import daylight, entrance
from beeagent.camera.synthetic.behaviour import Bee, Colony, Ground
from beeagent.camera.synthetic.camera import lit, noisy, toned
from beeagent.camera.synthetic.clutter import strew
from beeagent.camera.synthetic.layout import Placed, paste, visible_boxes
from beeagent.camera.synthetic.options import SceneOptions
from beeagent.camera.synthetic.scene_frame import SceneFrame
from beeagent.camera.synthetic.stamps import StampBook, Sun

_LOOKS = 4
_GRAINS = 3
_FLYING_SHADOW = 4.0
"""How much farther from a bee its shadow falls when it flies."""


class Scene:
    """A hive entrance with bees, drawn frame by frame; the same options give the same frames.

    Everything slow is done once, here; a frame costs a copy of the background and a small rectangle a bee.

    Args:
        options: what to draw.
    """

    def __init__(self, options: SceneOptions) -> None:
        self.options = options
        rng = np.random.default_rng(options.seed)
        size = (options.width, options.height)
        length = max(size) * float(rng.uniform(*options.bee_length))
        place = entrance(rng, width=options.width, height=options.height)
        strew(rng, place.picture)
        self._light = daylight(rng, width=options.width, height=options.height)
        picture = lit(place.picture, self._light)
        exposure = float(np.clip(rng.uniform(105, 150) / max(float(picture.mean()), 1.0), 0.7, 2.5))
        tint = float(rng.normal(0, 0.05))
        balance = (exposure * (1 - tint), exposure, exposure * (1 + tint))
        # Sensor noise that changes from frame to frame, at no cost: a few grainy copies take turns.
        picture = toned(picture, gains=balance)
        self._backgrounds = [noisy(rng, picture, sigma=2.0, coarse=False) for _ in range(_GRAINS)]
        angle = float(rng.uniform(0.2, math.pi - 0.2))
        self._sun = Sun(x=math.cos(angle) * 0.1 * length, y=math.sin(angle) * 0.1 * length)
        lengths = tuple(length * float(rng.uniform(0.9, 1.1)) for _ in range(_LOOKS))
        self._stamps = StampBook(rng, lengths=lengths, sun=self._sun, gains=balance)
        self._slot_top = place.slot[1]
        self._colony = Colony(
            rng,
            ground=Ground(width=options.width, height=options.height, slot=place.slot),
            bees=options.bees,
            lengths=lengths,
        )
        self._frames = 0

    def advance(self, seconds: float | None = None) -> None:
        """Let time pass: bees walk, fly, enter and leave.

        Args:
            seconds: how long, 0 or more; one frame's time by default.
        """
        self._colony.advance(1 / self.options.fps if seconds is None else seconds)
        self._frames += 1

    def picture(self) -> NDArray[np.uint8]:
        """Draw the scene as it is now, without working out the boxes.

        Returns:
            uint8, shape (height, width, 3), BGR, in memory of its own.
        """
        return self._draw()[0]

    def render(self) -> SceneFrame:
        """Draw the scene as it is now; nothing moves by it.

        Returns:
            The picture, in memory of its own, and the boxes of the bees that can be seen: at least 25 % of them
            and at least 8 pixels long.
        """
        picture, placed = self._draw()
        return SceneFrame(pixels=picture, boxes=visible_boxes(picture.shape[:2], placed))

    def _draw(self) -> tuple[NDArray[np.uint8], list[Placed]]:
        picture = self._backgrounds[self._frames % _GRAINS].copy()
        placed: list[Placed] = []
        # Those on foot first; those in the air are nearer to the camera, and so are their shadows.
        for bee in sorted(self._colony.bees, key=lambda bee: bee.flying):
            middle = (round(bee.x), round(bee.y))
            stamps = self._stamps.stamps(bee)
            if stamps.shadow is not None:
                x, y = bee.x + _FLYING_SHADOW * self._sun.x, bee.y + _FLYING_SHADOW * self._sun.y
                paste(picture, Placed(stamp=stamps.shadow, middle=(round(x), round(y))))
            # The hive's front hides who is in the entrance.
            top = self._slot_top if bee.by_slot else 0
            placed.append(Placed(stamp=stamps.body, middle=middle, top=top, light=self._light_on(bee)))
            paste(picture, placed[-1])
        return picture, placed

    def _light_on(self, bee: Bee) -> float:
        x = min(max(round(bee.x), 0), self.options.width - 1)
        y = min(max(round(bee.y), 0), self.options.height - 1)
        return float(self._light[y, x])
