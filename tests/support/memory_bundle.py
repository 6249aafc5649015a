"""Model bundles made in memory, for tests of the detector."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from beeagent.detection import InputSpec, ModelBundle


def bundle_of(
    model: bytes, *, labels: Sequence[str] = ("red", "green", "blue"), spec: InputSpec | None = None
) -> ModelBundle:
    """Wrap a model with its labels, at threshold 0.5; without `spec`, as a bare one."""
    return ModelBundle(
        path=Path("model.tflite"),
        name="model",
        sha256=hashlib.sha256(model).hexdigest(),
        model=model,
        labels=tuple(labels),
        input=spec,
        threshold=0.5,
        manifest=None,
    )
