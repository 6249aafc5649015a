"""What a camera is asked for."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFormat:
    """Size and rate to ask a camera for. It gives what it can: what came is told by the frames.

    Attributes:
        width: in pixels; None leaves it to the camera. Given together with `height` or not at all.
        height: in pixels.
        fps: frames a second; None leaves it to the camera.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ValueError("give both width and height, or neither")
        for name, value in (("width", self.width), ("height", self.height), ("fps", self.fps)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, not {value}")
