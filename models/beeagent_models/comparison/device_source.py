"""A model of the device as a contender of a comparison."""

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, resolve_tiling
from beeagent.messages import detections_message

from beeagent_models.comparison.findings import Findings
from beeagent_models.comparison.spec import Spec
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.evaluation import refuse_unrelated

# Average precision sums over all thresholds, so next to nothing is held back from it.
_WEAKEST: Final = 0.001
# AWS IoT Core's limit on a payload, https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_MESSAGE_LIMIT: Final = 128 * 1024


class DeviceSource:
    """Runs a model here, as the agent does.

    Args:
        spec: names a bundle, or a bare `.tflite`.
        dataset: the pictures.
        threads: CPU threads of an inference.

    Raises:
        InputError: the model cannot be used, or knows none of the data set's labels.
    """

    def __init__(self, spec: Spec, dataset: Dataset, *, threads: int) -> None:
        self._name = spec.name
        self._bundle = ModelBundle.load(Path(spec.what), labels=spec.labels)
        refuse_unrelated(dataset, frozenset(self._bundle.labels))
        tiling = resolve_tiling(spec.tiles, self._bundle)
        options = DetectorOptions(threads=threads, threshold=_WEAKEST, tiling=tiling)
        self._detector = Detector(self._bundle, options)

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Look at each picture, and weigh the message that the agent would make of it; see `Source.find`."""
        found, seconds, sent = [], [], []
        for image in dataset.images:
            pixels = load_image(image)
            began = time.perf_counter()
            found.append(self._detector.detect(pixels))
            seconds.append(time.perf_counter() - began)
            sent.append(self._message_bytes(found[-1], image, 1e3 * seconds[-1]))
            step()
        return Findings(self._name, "device", tuple(found), np.array(seconds), np.array(sent, np.int64))

    def _message_bytes(self, found: Detections, image: LabelledImage, milliseconds: float) -> int:
        message = detections_message(
            event_id=UUID(int=0),
            device="hive",
            camera="front",
            seq=1,
            captured_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
            frame_width=image.width,
            frame_height=image.height,
            model=self._bundle.identity,
            decided_by="edge",
            detections=found.at_least(self._bundle.threshold),
            inference_ms=milliseconds,
            total_ms=milliseconds,
        )
        return len(message.encode(limit=_MESSAGE_LIMIT))
