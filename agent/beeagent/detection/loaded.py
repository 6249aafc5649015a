"""A model in memory, once for each frame that is looked at at the same time."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detections import Detections
from beeagent.detection.detector import DetectorOptions, RawOutputs
from beeagent.detection.tiled import Layout, PreparedFrame, TiledDetector
from beeagent.detection.tiles import NO_TILES, Tiling
from beeagent.detection.uncertainty import Band


class LoadedModel:
    """The detectors of one model, all alike; each may be at a frame of its own.

    Attributes:
        identity: name and short hash, such as `bees-lite0@3f9c21d0`.
        places: how many frames may be in it at the same time.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        options: DetectorOptions,
        *,
        places: int,
        tiling: Tiling = NO_TILES,
        unsure: Band | None = None,
    ) -> None:
        """Load the model `places` times, and run each once.

        Args:
            bundle: the model.
            options: how each of its detectors is to run.
            places: how many frames may be in it at the same time, 1 or more.
            tiling: into how many tiles to cut each frame.
            unsure: confidences at which it is unsure; it then looks down to their low end. None where nobody asks.

        Raises:
            InputError: the model cannot be used.
            BeeagentError: there is no working TFLite runtime.
        """
        self.identity = bundle.identity
        self._unsure = unsure
        self._threshold = bundle.threshold if options.threshold is None else options.threshold
        if unsure is not None:
            options = replace(options, threshold=min(self._threshold, unsure.low))
        self.places = places
        self._load = partial(TiledDetector, bundle, options, tiling)
        self._detectors: list[TiledDetector | None] = [self._load() for _ in range(places)]
        self._turns = [0] * places
        self._changing = threading.Lock()
        # Preparing and decoding only read what never changes, so one detector does both for all of them.
        self._first = self._at(0)

    def prepare(self, pixels: NDArray[np.uint8]) -> PreparedFrame:
        """See `TiledDetector.prepare`."""
        return self._first.prepare(pixels)

    def infer(self, place: int, prepared: PreparedFrame) -> tuple[RawOutputs, ...]:
        """Run the model in one of its places, from 0; by one thread at a time in each."""
        return self._at(place).infer(prepared)

    def decode(self, raw: Sequence[RawOutputs], layout: Layout) -> tuple[Detections, Detections | None]:
        """Read what was found; see `TiledDetector.decode`.

        Returns:
            The detections that count; and, of a frame of which the model is unsure, all of them down to where it
            is almost surely wrong, else None.
        """
        found = self._first.decode(raw, layout)
        if self._unsure is None:
            return found, None
        return found.from_confidence(self._threshold), found if self._unsure.holds(found) else None

    def give_up(self, place: int) -> None:
        """Leave a place's detector to the thread that does not come back from it; the next use loads another."""
        with self._changing:
            self._turns[place] += 1
            self._detectors[place] = None

    def _at(self, place: int) -> TiledDetector:
        with self._changing:
            detector, turn = self._detectors[place], self._turns[place]
        if detector is None:
            detector = self._load()
            with self._changing:
                # Whoever was given up while loading keeps to itself what it has: an interpreter is for one thread.
                if self._turns[place] == turn:
                    self._detectors[place] = detector
        return detector
