"""Loads a SavedModel of the Object Detection API as raw heads."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.detection import Fit
from beeagent.errors import InputError

from beeagent_export.heads import RawHeads
from beeagent_export.object_detection_api.graph import CutGraph, cut_saved_model
from beeagent_export.object_detection_api.label_map import LABEL_MAP, read_labels
from beeagent_export.object_detection_api.pipeline_config import PipelineConfig, read_pipeline_config

SAVED_MODEL, CONFIG = "saved_model.pb", "pipeline.config"

# Standard deviation of the exported input. The network's own normalisation, per channel, is inside the graph.
_STD = 128.0


def saved_model_in(path: Path) -> Path | None:
    """Return the folder of the SavedModel in the output of `exporter_main_v2.py`, or None."""
    return next((folder for folder in (path, path / "saved_model") if (folder / SAVED_MODEL).is_file()), None)


def find_config(folder: Path) -> Path:
    """Return the pipeline.config of a SavedModel, from its folder or the parent folder.

    Raises:
        InputError: the file does not exist.
    """
    for parent in (folder, folder.parent):
        if (parent / CONFIG).is_file():
            return parent / CONFIG
    raise InputError(
        f"the SavedModel {folder} has no {CONFIG} beside it: copy there the one from exporter_main_v2.py of the "
        "TensorFlow 2 Object Detection API; other SavedModels cannot be exported"
    )


def load_saved_model(
    path: Path, *, labels: Path | None, input_size: tuple[int, int] | None, fit: Fit | None
) -> tuple[RawHeads, str, dict[str, Any]]:
    """Load a detector of the Object Detection API.

    Args:
        path: output folder of `exporter_main_v2.py`, or the SavedModel in it.
        labels: label map or text file with one name per line; None for the label map beside pipeline.config.
        input_size: requested width and height; None, or that of the SavedModel.
        fit: requested fit; None, or that of pipeline.config.

    Returns:
        The raw heads, the architecture, such as `efficientdet-d1`, and the provenance.

    Raises:
        InputError: a file or an option cannot be used.
    """
    folder = saved_model_in(path)
    if folder is None:
        raise InputError(f"the source {path} is not a SavedModel: it has no {SAVED_MODEL}")
    config_path = find_config(folder)
    config = read_pipeline_config(config_path)
    names = read_labels(labels or _label_map(config_path, config), classes=config.classes)
    if input_size is not None and input_size != (config.width, config.height):
        raise InputError(
            f"--input-size is {input_size[0]}x{input_size[1]}, but a SavedModel's is fixed: "
            f"{config.width}x{config.height}"
        )
    if fit is not None and fit is not config.fit:
        raise InputError(f"--fit is {fit.value}, but {config_path} has {config.fit.value}: leave --fit out")
    cut = cut_saved_model(folder, box_scales=config.box_scales)
    if (cut.width, cut.height, cut.classes) != (config.width, config.height, config.classes):
        raise InputError(
            f"the SavedModel {folder} has an input of {cut.width}x{cut.height} pixels and {cut.classes} classes, but "
            f"{config_path} has {config.width}x{config.height} and {config.classes}: use the file of this model"
        )
    mean = _padding_grey(cut)
    heads = RawHeads(
        function=_with_normalisation(cut, mean),
        width=cut.width,
        height=cut.height,
        fit=config.fit,
        mean=mean,
        std=_STD,
        labels=names,
        anchors=cut.anchors,
        box_scales=config.box_scales,
    )
    provenance = {
        "saved_model": {"folder": path.absolute().name, "sha256": _digest(folder)},
        "pipeline_config": {"sha256": hashlib.sha256(config_path.read_bytes()).hexdigest()},
        "architecture": {**asdict(config), "fit": config.fit.value, "anchors": len(cut.anchors)},
    }
    return heads, f"efficientdet-{config.backbone.replace('b', 'd')}", provenance


def _label_map(config_path: Path, config: PipelineConfig) -> Path:
    path = config_path.with_name(LABEL_MAP)
    if not path.is_file():
        classes = "class" if config.classes == 1 else "classes"
        raise InputError(
            f"the names of the model's {config.classes} {classes} are unknown: give --labels FILE, its label map or a "
            f"text file with one name per line, or put {LABEL_MAP} beside {config_path}"
        )
    return path


def _padding_grey(cut: CutGraph) -> float:
    """Return the grey value whose normalised value is closest to 0, the padding value of the API.

    It is an integer, so that it can be the zero point of int8; the agent pads with the same value.
    """
    return float(np.clip(np.rint(np.mean(-cut.offset / cut.gain)), 0, 255))


def _with_normalisation(cut: CutGraph, mean: float) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    """Return the network as a function of `(pixel - mean) / _STD`."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    gain, offset = cut.gain * _STD, cut.gain * mean + cut.offset

    @tf.function(input_signature=[tf.TensorSpec([1, cut.height, cut.width, 3], tf.float32, name="images")])  # type: ignore[untyped-decorator, unused-ignore]  # TensorFlow ships no types
    def heads(images: Any) -> Any:  # noqa: ANN401
        codes, scores = cut.network(images * gain + offset)
        return codes, scores

    return heads.get_concrete_function()


def _digest(folder: Path) -> str:
    """Return one SHA-256 over names and contents of all files of a SavedModel."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
