"""What can be chosen about a synthetic scene."""

from dataclasses import dataclass

from beeagent.errors import InputError

LEAST_SIDE, MOST_SIDE = 16, 8192
MOST_BEES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What can be chosen about a synthetic scene.

    Attributes:
        width: of the frame in pixels, 16 to 8192.
        height: likewise.
        fps: frames per second, more than 0 and at most 1000.
        seed: the same seed gives the same scene, 0 or more.
        bees: least and most bees in view; the number varies between them over time.
        bee_length: least and most length of a body, as a ratio of the frame's longer side. A scene chooses one
            size in between, from which its bees differ a little.

    Raises:
        InputError: a value is out of range.
    """

    width: int = 1280
    height: int = 720
    fps: float = 30.0
    seed: int = 0
    bees: tuple[int, int] = (3, 14)
    bee_length: tuple[float, float] = (0.06, 0.16)

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not LEAST_SIDE <= side <= MOST_SIDE:
                raise InputError(f"synthetic scene: {name} is {side}; use {LEAST_SIDE} to {MOST_SIDE} pixels")
        if not 0 < self.fps <= 1000:
            raise InputError(f"synthetic scene: fps is {self.fps}; use more than 0 and at most 1000")
        if self.seed < 0:
            raise InputError(f"synthetic scene: seed is {self.seed}; use 0 or more")
        least, most = self.bees
        if not 0 <= least <= most <= MOST_BEES:
            raise InputError(
                f"synthetic scene: bees is {least} to {most}; use 0 to {MOST_BEES}, the smaller number first"
            )
        short, long = self.bee_length
        if not 0.005 <= short <= long <= 0.5:
            raise InputError(
                f"synthetic scene: bee_length is {short} to {long}; use 0.005 to 0.5, the smaller number first"
            )
