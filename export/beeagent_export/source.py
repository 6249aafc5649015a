"""What can be exported: recognises it and brings it to raw heads."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beeagent.detection import Fit
from beeagent.errors import InputError, install_hint
from beeagent_models.efficientdet.input_size import check_alignment
from beeagent_models.evaluation import PlattScaling

from beeagent_export.heads import RawHeads
from beeagent_export.object_detection_api.pipeline_config import read_pipeline_config
from beeagent_export.object_detection_api.saved_model import config_of, load_saved_model, saved_model_in

_SUPPORTED = (
    "give a checkpoint that `beeagent train` wrote, or what exporter_main_v2.py of the TensorFlow 2 Object Detection "
    "API wrote of an EfficientDet"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A trained detector, ready to be converted.

    Attributes:
        heads: its raw heads.
        architecture: such as `efficientdet-lite0`.
        provenance: how it was made, with the name and SHA-256 of its file.
    """

    heads: RawHeads
    architecture: str
    provenance: dict[str, Any]


def refuse_unsupported(path: Path) -> None:
    """Refuse what is known not to be exportable, before anything slow is done.

    Raises:
        InputError: there is nothing at the path, or something that no exporter is there for.
    """
    if not path.exists():
        raise InputError(f"the source {path} does not exist: {_SUPPORTED}")
    if path.is_dir():
        if (folder := saved_model_in(path)) is not None:
            read_pipeline_config(config_of(folder))
            return
        if (path / "manifest.json").is_file():
            raise InputError(f"the source {path} is already a model bundle: {_SUPPORTED}")
        raise InputError(f"the source {path} is a folder: {_SUPPORTED}")
    if path.suffix in {".keras", ".h5"}:
        raise InputError(f"the source {path} is an unknown Keras model, which cannot be exported: {_SUPPORTED}")
    if path.suffix == ".tflite":
        raise InputError(f"the source {path} is already a TFLite model: run it with `beeagent --model {path}`")


def load_source(
    path: Path,
    *,
    labels: Path | None,
    input_size: tuple[int, int] | None,
    fit: Fit | None,
    confidence: PlattScaling | None = None,
) -> Source:
    """Load a checkpoint of `beeagent train`, or a SavedModel of the Object Detection API.

    Args:
        path: of the checkpoint, or the folder of the SavedModel.
        labels: names of the classes of a SavedModel; a checkpoint knows its own.
        input_size: width and height of the input in pixels; None takes the size that the source was made for. The
            weights of a checkpoint serve every size that `check_alignment` allows, a SavedModel has a fixed one.
        fit: how frames were fitted into the input in training; None for what a SavedModel's pipeline.config says, and
            for letterbox with a checkpoint.
        confidence: calibration to fold into the class head of a checkpoint.

    Raises:
        InputError: the file cannot be used, or TensorFlow is missing.
    """
    refuse_unsupported(path)
    prepare_keras()
    if path.is_dir():
        if confidence is not None:
            raise ValueError("the class head of a SavedModel cannot be scaled")
        heads, architecture, provenance = load_saved_model(path, labels=labels, input_size=input_size, fit=fit)
        return Source(heads=heads, architecture=architecture, provenance=provenance)
    if labels is not None:
        raise InputError(f"--labels is {labels}, but the checkpoint {path} knows its own labels: leave it out")
    from beeagent_models.efficientdet import (  # noqa: PLC0415 - imports Keras
        anchor_boxes,
        load_checkpoint,
        scale_class_logits,
    )

    model, config, training = load_checkpoint(path)
    if confidence is not None:
        scale_class_logits(model, scale=confidence.scale, bias=confidence.bias)
    own_size = (config.input_size, config.input_size)
    width, height = input_size or own_size
    if (width, height) != own_size:  # at its own size, the network was trained with whatever rounding there is
        check_alignment((width, height))
    heads = RawHeads(
        function=_freeze(model, width, height),
        width=width,
        height=height,
        fit=fit or Fit.LETTERBOX,
        mean=config.mean,
        std=config.std,
        labels=config.labels,
        anchors=anchor_boxes(config, height, width),
    )
    provenance = {
        "checkpoint": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "architecture": config.to_json(),
        "training": training,
    }
    return Source(heads=heads, architecture=f"efficientdet-{config.name}", provenance=provenance)


def prepare_keras() -> None:
    """Make Keras run on TensorFlow, which alone converts to TFLite.

    Raises:
        InputError: TensorFlow is not installed, or this process already runs Keras on another backend.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        import keras  # noqa: PLC0415 - takes seconds
        import tensorflow  # noqa: F401, ICN001, PLC0415 - to see whether it is there
    except ImportError as error:
        raise InputError(
            f"export needs TensorFlow, which Python 3.10 to 3.13 can have: {install_hint('export')}"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs Keras on TensorFlow, but this process runs it on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )


def _freeze(model: Any, width: int, height: int) -> Any:  # noqa: ANN401 - Keras and TensorFlow ship no types
    """Return the model with its sigmoid as a concrete function with variables replaced by constants.

    The converter's calibration fails on a graph that still has variables (TensorFlow 2.21).
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.float32, name="images")])  # type: ignore[untyped-decorator, unused-ignore]  # TensorFlow ships no types
    def heads(images: Any) -> Any:  # noqa: ANN401
        box_codes, class_logits = model(images, training=False)
        return box_codes, tf.sigmoid(class_logits)

    return convert_variables_to_constants_v2(heads.get_concrete_function())
