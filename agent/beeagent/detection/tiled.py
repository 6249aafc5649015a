"""The detector of whole frames: one look at the frame, and one at each of its tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import Detector, DetectorOptions, PreparedInput, RawOutputs
from beeagent.detection.geometry import Placement
from beeagent.detection.merging import merge
from beeagent.detection.tiles import Region, Tiling, regions


@dataclass(frozen=True, slots=True)
class Layout:
    """What the model looks at in a frame, and where each of it lies in the model's input.

    Attributes:
        frame: width and height of the frame in pixels.
        regions: the parts of the frame.
        placements: where each lies in its input.
    """

    frame: tuple[int, int]
    regions: tuple[Region, ...]
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A frame made ready for the model: an input for each of its regions."""

    inputs: tuple[PreparedInput, ...]
    layout: Layout


class TiledDetector:
    """Finds what is in a frame, looking at it whole and, where that is wanted, at its tiles as well.

    Has the three steps of `Detector`, with the same freedom to run them on threads of their own.
    """

    def __init__(self, bundle: ModelBundle, options: DetectorOptions, tiling: Tiling) -> None:
        """Load the model and run it once; errors as of `Detector`."""
        self._detector = Detector(bundle, options)
        self._tiling = tiling

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the model's input in pixels."""
        return self._detector.input_size

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Find what is in one picture; see `Detector.detect`."""
        prepared = self.prepare(pixels)
        return self.decode(self.infer(prepared), prepared.layout)

    def prepare(self, pixels: NDArray[np.uint8]) -> PreparedFrame:
        """Lay each region of a frame (uint8, shape (height, width, 3), BGR) into an input of the model."""
        frame = (int(pixels.shape[1]), int(pixels.shape[0]))
        parts = regions(self._tiling, frame=frame, model_input=self.input_size)
        inputs = tuple(
            self._detector.prepare(pixels[part.top : part.top + part.height, part.left : part.left + part.width])
            for part in parts
        )
        return PreparedFrame(inputs, Layout(frame, parts, tuple(one.placement for one in inputs)))

    def infer(self, prepared: PreparedFrame) -> tuple[RawOutputs, ...]:
        """Run the model on each region, one after the other."""
        return tuple(self._detector.infer(one) for one in prepared.inputs)

    def decode(self, raw: Sequence[RawOutputs], layout: Layout) -> Detections:
        """Turn the outputs of all regions into detections in ratios of the frame; see `Detector.decode`."""
        found = [self._detector.decode(one, place) for one, place in zip(raw, layout.placements, strict=True)]
        return merge(found, layout.regions, frame=layout.frame)
