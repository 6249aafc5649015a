"""Recognises and loads the supported sources of an export as raw heads."""

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
from beeagent_export.object_detection_api.saved_model import find_config, load_saved_model, saved_model_in

_SUPPORTED = (
    "give a checkpoint of `beeagent train`, or the output of exporter_main_v2.py of the TensorFlow 2 Object Detection "
    "API for an EfficientDet"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A trained detector, ready for conversion.

    Attributes:
        heads: raw heads of the detector.
        architecture: name of the architecture, such as `efficientdet-lite0`.
        provenance: training record, with name and SHA-256 of the file.
    """

    heads: RawHeads
    architecture: str
    provenance: dict[str, Any]


def refuse_unsupported(path: Path) -> None:
    """Refuse unsupported sources before anything slow is done.

    Raises:
        InputError: the path does not exist, or its format is not supported.
    """
    if not path.exists():
        raise InputError(f"the source {path} does not exist: {_SUPPORTED}")
    if path.is_dir():
        if (folder := saved_model_in(path)) is not None:
            read_pipeline_config(find_config(folder))
            return
        if (path / "manifest.json").is_file():
            raise InputError(f"the source {path} is already a model bundle: {_SUPPORTED}")
        raise InputError(f"the source {path} is a folder without a SavedModel: {_SUPPORTED}")
    if path.suffix in {".keras", ".h5"}:
        raise InputError(f"the source {path} is a Keras model file, which cannot be exported: {_SUPPORTED}")
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
        path: checkpoint, or folder of the SavedModel.
        labels: file with the class names of a SavedModel; a checkpoint has its own.
        input_size: input width and height in pixels; None for the source's own. A checkpoint supports every size that
            `check_alignment` allows, a SavedModel only its own.
        fit: method of fitting frames into the input, as in training; None for that of pipeline.config, or letterbox
            with a checkpoint.
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
        raise InputError(f"--labels is {labels}, but the checkpoint {path} has its own labels: leave --labels out")
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
    if (width, height) != own_size:  # at its own size, the network was trained with the same rounding
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
    """Select the TensorFlow backend of Keras, which the TFLite conversion needs.

    Raises:
        InputError: TensorFlow is not installed, or this process already runs Keras on another backend.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        import keras  # noqa: PLC0415 - takes seconds
        import tensorflow  # noqa: F401, ICN001, PLC0415 - checks that it is installed
    except ImportError as error:
        raise InputError(
            f"export needs TensorFlow, which supports Python 3.10 to 3.13: {install_hint('export')}"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs Keras on TensorFlow, but this process runs it on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )


def _freeze(model: Any, width: int, height: int) -> Any:  # noqa: ANN401 - Keras and TensorFlow ship no types
    """Return the model and a sigmoid as a concrete function with variables replaced by constants.

    The converter's calibration fails on a graph with variables (TensorFlow 2.21).
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
