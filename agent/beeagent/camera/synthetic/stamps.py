"""The bees of a scene, drawn in advance and kept turned as they were last needed."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from beeagent.camera.synthetic.bee import draw_bee
from beeagent.camera.synthetic.behaviour import Bee
from beeagent.camera.synthetic.layout import Stamp
from beeagent.camera.synthetic.look import BeePose, random_look
from beeagent.camera.synthetic.sprite import (
    Image,
    Sprite,
    as_sprite,
    over_shadow,
    recoloured,
    shadow_of,
    smeared,
    turned,
    turned_shadow,
)

_GAITS = 4
_WING_PHASES = 3
_HEADINGS = 48
_MOST_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Sun:
    """How far the shadow of a walking bee lies to the right and below, in pixels."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class BeeStamps:
    """A bee as it is laid on the picture; one in flight has a shadow that is far from it."""

    body: Stamp
    shadow: Stamp | None

    @property
    def nbytes(self) -> int:
        """Memory that they take, in bytes."""
        return self.body.nbytes + (self.shadow.nbytes if self.shadow else 0)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A bee heading to the right in one phase of its movement, and the shadow that it throws."""

    sprite: Sprite
    shadow: Image


class StampBook:
    """Gives the stamp of any bee in any heading; the least recently used are forgotten beyond 16 MB.

    Args:
        rng: decides the looks of the individuals.
        lengths: body length in pixels of each individual.
        sun: where shadows fall.
        gains: factors for B, G and R: exposure and white balance.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        lengths: tuple[float, ...],
        sun: Sun,
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
        self._kept: OrderedDict[tuple[int, bool, int, int], BeeStamps] = OrderedDict()
        self._kept_bytes = 0

    def stamps(self, bee: Bee) -> BeeStamps:
        """Give what shows a bee in its heading and phase of movement, each to the nearest step."""
        phases = _WING_PHASES if bee.flying else _GAITS
        phase = int(bee.gait / (2 * math.pi) * phases) % phases
        heading = round(bee.heading / (2 * math.pi) * _HEADINGS) % _HEADINGS
        key = (bee.look, bee.flying, phase, heading)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        drawn = (self._flying if bee.flying else self._walking)[bee.look][phase]
        made = self._made(drawn, heading=2 * math.pi * heading / _HEADINGS, flying=bee.flying)
        self._kept[key] = made
        self._kept_bytes += made.nbytes
        while self._kept_bytes > _MOST_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return made

    def _made(self, drawn: _Phase, *, heading: float, flying: bool) -> BeeStamps:
        sprite = turned(drawn.sprite, heading=heading)
        shadow = turned_shadow(drawn.shadow, heading=heading)
        if flying:
            return BeeStamps(body=Stamp(sprite), shadow=Stamp(as_sprite(shadow)))
        return BeeStamps(body=Stamp(over_shadow(sprite, shadow, (round(self._sun.x), round(self._sun.y)))), shadow=None)


def _phase(sprite: Sprite, *, softness: float, strength: float) -> _Phase:
    return _Phase(sprite=sprite, shadow=shadow_of(sprite, softness=softness, strength=strength))
