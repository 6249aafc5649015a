"""What a pipeline.config says of a detector, as far as its export needs it."""

import re
from dataclasses import dataclass
from pathlib import Path

from beeagent.detection import Fit
from beeagent.errors import InputError

from beeagent_export.heads import BoxScales
from beeagent_export.object_detection_api.text_format import parse_text

_EXTRACTOR = re.compile(r"ssd_efficientnet-(b[0-7])_bifpn_keras")
_SIDES = (64, 2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """How the detector was set up.

    Attributes:
        backbone: `b0` to `b7`.
        classes: number of classes.
        width: of the input, in pixels.
        height: of the input, in pixels.
        fit: how an image is fitted into the input.
        box_scales: what the box codes are divided by.
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
        InputError: it cannot be read, or is of a detector that cannot be exported.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_pipeline_config(text, where=str(path))


def parse_pipeline_config(text: str, *, where: str) -> PipelineConfig:
    """Understand the text of a pipeline.config; arguments and errors as of `read_pipeline_config`."""
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
        raise InputError(f"{where}: post_processing.score_converter is not SIGMOID, as an EfficientDet's is")
    if ssd.add_background_class:
        raise InputError(f"{where}: add_background_class is not false, as an EfficientDet's is")
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
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in (width, height)):
        raise InputError(f"{where}: the input is {width}x{height}: sides of {_SIDES[0]} to {_SIDES[1]} can be exported")
    return width, height, fit
