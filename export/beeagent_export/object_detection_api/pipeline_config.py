"""Reads the fields of a pipeline.config that an export needs."""

import re
from dataclasses import dataclass
from pathlib import Path

from beeagent.detection import Fit
from beeagent.errors import InputError

from beeagent_export.heads import BoxScales
from beeagent_export.object_detection_api.text_format import parse_text

_EXTRACTOR = re.compile(r"ssd_efficientnet-(b[0-7])_bifpn_keras")
_MIN_SIDE, _MAX_SIDE = 64, 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Configuration of a detector of the Object Detection API.

    Attributes:
        backbone: `b0` to `b7`.
        classes: number of classes.
        width: input width in pixels.
        height: input height in pixels.
        fit: method of fitting an image into the input.
        box_scales: divisors of the box codes.
    """

    backbone: str
    classes: int
    width: int
    height: int
    fit: Fit
    box_scales: BoxScales


def read_pipeline_config(path: Path) -> PipelineConfig:
    """Read a pipeline.config.

    Raises:
        InputError: the file cannot be read, or the detector cannot be exported.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_pipeline_config(text, where=str(path))


def parse_pipeline_config(text: str, *, where: str) -> PipelineConfig:
    """Parse the text of a pipeline.config; errors as in `read_pipeline_config`."""
    model = parse_text("Pipeline", text, where=where).model
    ssd = model.ssd
    extractor = ssd.feature_extractor.type
    match = _EXTRACTOR.fullmatch(extractor)
    if match is None:
        raise InputError(
            f"{where}: the feature extractor is {extractor or 'not given'!r}: only EfficientDet can be exported, "
            "ssd_efficientnet-b0_bifpn_keras to b7"
        )
    converter = ssd.post_processing.score_converter
    if converter != 1:
        raise InputError(f"{where}: post_processing.score_converter is not SIGMOID: only EfficientDet can be exported")
    if ssd.add_background_class:
        raise InputError(f"{where}: add_background_class is not false: only EfficientDet can be exported")
    if ssd.num_classes < 1:
        raise InputError(f"{where}: num_classes is {ssd.num_classes}: it must be 1 or more")
    width, height, fit = _input(ssd.image_resizer, where)
    coder = ssd.box_coder.faster_rcnn_box_coder
    scales = BoxScales(y=coder.y_scale, x=coder.x_scale, height=coder.height_scale, width=coder.width_scale)
    if not all(value > 0 for value in (scales.y, scales.x, scales.height, scales.width)):
        raise InputError(f"{where}: the scales of faster_rcnn_box_coder must be more than 0")
    return PipelineConfig(
        backbone=match[1], classes=ssd.num_classes, width=width, height=height, fit=fit, box_scales=scales
    )


def _input(resizer: object, where: str) -> tuple[int, int, Fit]:
    fixed, keeping = resizer.fixed_shape_resizer, resizer.keep_aspect_ratio_resizer  # type: ignore[attr-defined]  # protobuf's
    if resizer.HasField("fixed_shape_resizer"):  # type: ignore[attr-defined]
        width, height, fit = fixed.width, fixed.height, Fit.STRETCH
    elif resizer.HasField("keep_aspect_ratio_resizer"):  # type: ignore[attr-defined]
        if not keeping.pad_to_max_dimension:
            raise InputError(f"{where}: keep_aspect_ratio_resizer without pad_to_max_dimension has no fixed input size")
        width = height = keeping.max_dimension
        fit = Fit.CORNER
    else:
        raise InputError(f"{where}: has neither a keep_aspect_ratio_resizer nor a fixed_shape_resizer")
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in (width, height)):
        raise InputError(f"{where}: the input is {width}x{height}: sides must be {_MIN_SIDE} to {_MAX_SIDE} pixels")
    return width, height, fit
