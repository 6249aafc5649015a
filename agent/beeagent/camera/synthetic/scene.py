"""The synthetic scene as a frame source: a hive entrance with bees that arrive, walk, fly and leave."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.pacing import Clock, MonotonicClock
from beeagent.camera.source import Frame, GrabbingSource
from beeagent.camera.synthetic import sprite as sprites
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.bee import draw_bee, random_look
from beeagent.camera.synthetic.behaviour import Bee, Colony, Ground
from beeagent.camera.synthetic.canvas import BeePose
from beeagent.camera.synthetic.drawing import Image
from beeagent.camera.synthetic.sprite import Placed, Sprite, Stamp
from beeagent.camera.synthetic.surroundings import daylight, entrance, lit, noisy, strew, toned
from beeagent.errors import InputError

_LOOKS = 4
_GRAINS = 3
_FLYING_SHADOW = 4.0
"""Factor on the distance of the shadow of a flying bee."""

_GAITS = 4
_WING_PHASES = 3
_HEADINGS = 48
_MAX_CACHE_BYTES = 16_000_000


class BeesInMotion(Protocol):
    """The bees of a scene, and their movement."""

    @property
    def bees(self) -> Sequence[Bee]:
        """The bees in the scene at the current time."""

    def advance(self, seconds: float) -> None:
        """Advance the time."""


class Scene:
    """A hive entrance with bees, drawn frame by frame; deterministic for the same options.

    Slow steps run once, in the constructor; a frame requires a copy of the background and a small rectangle per bee.

    Args:
        options: options of the scene.
        bees_in_motion: creates the bees from the random generator, the ground and the body length in pixels of each
            appearance; None for a `Colony`.
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
        # A few noisy copies alternate, which simulates sensor noise at no cost.
        image = toned(image, gains=balance)
        self._backgrounds = [noisy(rng, image, sigma=2.0, coarse=False) for _ in range(_GRAINS)]
        angle = float(rng.uniform(0.2, math.pi - 0.2))
        # Offset of a walking bee's shadow to the right and below, in pixels.
        self._sun = (math.cos(angle) * 0.1 * length, math.sin(angle) * 0.1 * length)
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
            seconds: 0 or more; None for the interval of one frame.
        """
        self._colony.advance(1 / self.options.fps if seconds is None else seconds)
        self._frames += 1

    def drawn_bees(self) -> list[Bee]:
        """Return the bees in drawing order: flying bees last, since they are nearer to the camera."""
        return sorted(self._colony.bees, key=lambda bee: bee.flying)

    def draw(self) -> tuple[NDArray[np.uint8], list[Placed]]:
        """Draw the scene at its current time.

        Returns:
            The image, uint8, shape (height, width, 3), BGR, in its own memory; and the bees as pasted.
        """
        image = self._backgrounds[self._frames % _GRAINS].copy()
        placed: list[Placed] = []
        for bee in self.drawn_bees():
            centre = (round(bee.x), round(bee.y))
            stamps = self._stamps.stamps(bee)
            if stamps.shadow is not None:
                x, y = bee.x + _FLYING_SHADOW * self._sun[0], bee.y + _FLYING_SHADOW * self._sun[1]
                sprites.paste(image, Placed(stamp=stamps.shadow, centre=(round(x), round(y))))
            # The hive's front hides a bee that is in the entrance.
            top = self._slot_top if bee.by_slot else 0
            placed.append(Placed(stamp=stamps.body, centre=centre, top=top, light=self._light_on(bee)))
            sprites.paste(image, placed[-1])
        return image, placed

    def _light_on(self, bee: Bee) -> float:
        x = min(max(round(bee.x), 0), self.options.width - 1)
        y = min(max(round(bee.y), 0), self.options.height - 1)
        return float(self._light[y, x])


class SyntheticSource(GrabbingSource):
    """Frames of a synthetic scene; skipped frames are not drawn.

    Args:
        options: options of the scene.
        live: True to deliver frames at the scene's rate, like a camera; False as fast as they are read. In both cases,
            each frame is one step of the scene after the previous one.
        frames: number of frames, 1 or more; None for no end.
        clock: clock for the due times; None for that of the system.

    Raises:
        InputError: `frames` is out of range.
    """

    def __init__(
        self, options: SceneOptions, *, live: bool, frames: int | None = None, clock: Clock | None = None
    ) -> None:
        if frames is not None and frames < 1:
            raise InputError(f"synthetic scene: frames is {frames}; use 1 or more, or leave it out for no end")
        size = f"{options.width}x{options.height}"
        self.description = f"synthetic scene {size} at {options.fps:g} fps, seed {options.seed}"
        self.live = live
        self._step = 1 / options.fps
        self._frames = frames
        self._clock = clock if clock is not None else MonotonicClock()
        self._closed = threading.Event()
        self._scene = Scene(options)
        self._next = 0
        self._due: float | None = None
        self._captured: tuple[datetime, int] | None = None

    def grab(self) -> bool:
        """Advance the scene by one frame; a live source waits until it is due.

        Returns:
            False after the last frame or when closed.
        """
        if self._closed.is_set() or self._next == self._frames:
            return False
        if self.live:
            self._await_due()
            if self._closed.is_set():
                return False
        if self._next:
            self._scene.advance()
        self._next += 1
        self._captured = (datetime.now(timezone.utc), time.monotonic_ns())
        return True

    def retrieve(self) -> Frame:
        """Draw the last grabbed frame."""
        if self._captured is None:
            raise RuntimeError("retrieve() comes after grab()")
        captured_at, captured_ns = self._captured
        pixels, _ = self._scene.draw()
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)

    def _await_due(self) -> None:
        """Wait until the next frame is due; if the reader is late by more than a frame, restart from now."""
        now = self._clock.now()
        if self._due is None or now - self._due > self._step:
            self._due = now
        if now < self._due:
            self._clock.wait(self._closed, self._due - now)
        self._due += self._step

    def close(self) -> None:
        """End the scene; a waiting `grab` or `read` returns at once, without a frame."""
        self._closed.set()


@dataclass(frozen=True, slots=True)
class _BeeStamps:
    """The stamps of a bee; a flying bee has a separate shadow at a distance."""

    body: Stamp
    shadow: Stamp | None

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.body.nbytes + (self.shadow.nbytes if self.shadow else 0)


_Phase = tuple[Sprite, Image]
"""A bee heading to the right in one phase of its movement, and its shadow."""


class _StampCache:
    """An LRU cache, of at most 16 MB, for the stamps of the scene's appearances in any heading.

    `lengths` are the body lengths in pixels, one for each appearance; `gains` are factors for B, G and R: exposure and
    white balance.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        lengths: tuple[float, ...],
        sun: tuple[float, float],
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
                sprite = sprites.recoloured(sprite, gains)
                walk.append((sprite, sprites.shadow_of(sprite, softness=max(0.6, 0.03 * length), strength=0.55)))
            for angle in np.linspace(1.2, 1.7, _WING_PHASES):
                pose = BeePose(wing_angle=(angle, angle), wing_beat=0.8, roll=roll / 2, legs=0.4)
                sprite = draw_bee(look, pose, length=length, rng=np.random.default_rng(hairs))
                sprite = sprites.smeared(sprites.recoloured(sprite, gains), along=0.1 * length, across=0)
                fly.append((sprite, sprites.shadow_of(sprite, softness=max(0.8, 0.1 * length), strength=0.3)))
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
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached
        drawn = (self._flying if bee.flying else self._walking)[bee.look][phase]
        made = self._make(drawn, heading=2 * math.pi * heading / _HEADINGS, flying=bee.flying)
        self._cache[key] = made
        self._cached_bytes += made.nbytes
        while self._cached_bytes > _MAX_CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return made

    def _make(self, drawn: _Phase, *, heading: float, flying: bool) -> _BeeStamps:
        sprite = sprites.turned(drawn[0], heading=heading)
        shadow = sprites.turned_shadow(drawn[1], heading=heading)
        if flying:
            return _BeeStamps(body=Stamp(sprite), shadow=Stamp(sprites.as_sprite(shadow)))
        offset = (round(self._sun[0]), round(self._sun[1]))
        return _BeeStamps(body=Stamp(sprites.over_shadow(sprite, shadow, offset)), shadow=None)
