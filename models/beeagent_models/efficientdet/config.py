"""Configurations of EfficientDet-Lite0 to Lite4."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from beeagent.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientDetConfig:
    """Architecture, labels and normalisation of a detector.

    Attributes:
        name: `lite0` to `lite4`.
        labels: class names in the order of the class logits.
        input_size: intended height and width of the input in pixels; the network is convolutional and accepts others.
        width_coefficient: factor on the channels of the backbone's stages.
        depth_coefficient: factor on the repeats of the backbone's inner stages.
        bifpn_width: number of channels of the feature pyramid and the heads.
        bifpn_repeats: number of BiFPN cells.
        head_repeats: number of separable convolutions in each head before the prediction layer.
        min_level: finest pyramid level; level n has a stride of 2**n pixels.
        max_level: coarsest pyramid level.
        aspect_ratios: ratios of anchor width to anchor height.
        octave_scales: number of anchor sizes per level and aspect ratio, in steps of 2**(1 / octave_scales).
        anchor_scale: side of a level's smallest square anchor divided by its stride; published: 3.0 or 4.0. Smaller
            values suit smaller objects.
        mean: mean of the normalisation, in RGB values of 0 to 255.
        std: standard deviation of the normalisation. The network's input is `(pixel - mean) / std`.

    Raises:
        InputError: there is no label, or a label is duplicate.
    """

    name: str
    labels: tuple[str, ...]
    input_size: int
    width_coefficient: float
    depth_coefficient: float
    bifpn_width: int
    bifpn_repeats: int
    head_repeats: int
    min_level: int = 3
    max_level: int = 7
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    octave_scales: int = 3
    anchor_scale: float = 3.0
    mean: float = 127.0
    std: float = 128.0

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels {list(self.labels)}: give at least one name, without duplicates")

    @property
    def anchors_per_cell(self) -> int:
        """Number of anchors per cell of a feature map."""
        return len(self.aspect_ratios) * self.octave_scales

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EfficientDetConfig":
        """Return the configuration for the JSON values of `to_json`.

        Raises:
            InputError: a value is missing or unknown.
        """
        lists: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        try:
            return cls(**lists)
        except TypeError as error:
            raise InputError(f"model configuration does not fit this version: {error}") from None


# Tan, Pang and Le, "EfficientDet: Scalable and Efficient Object Detection" (2020), with the authors' changes for the
# Lite series: ReLU6, no squeeze-and-excitation, unweighted fusion, mean 127 and standard deviation 128.
_PUBLISHED: dict[str, dict[str, float]] = {
    "lite0": {"size": 320, "width": 1.0, "depth": 1.0, "fpn": 64, "cells": 3, "head": 3, "anchor": 3.0},
    "lite1": {"size": 384, "width": 1.0, "depth": 1.1, "fpn": 88, "cells": 4, "head": 3, "anchor": 3.0},
    "lite2": {"size": 448, "width": 1.1, "depth": 1.2, "fpn": 112, "cells": 5, "head": 3, "anchor": 3.0},
    "lite3": {"size": 512, "width": 1.2, "depth": 1.4, "fpn": 160, "cells": 6, "head": 4, "anchor": 3.0},
    "lite4": {"size": 640, "width": 1.4, "depth": 1.8, "fpn": 224, "cells": 7, "head": 4, "anchor": 4.0},
}


def config_for(
    name: str, *, labels: tuple[str, ...], anchor_scale: float | None = None, input_size: int | None = None
) -> EfficientDetConfig:
    """Return the published configuration of an EfficientDet-Lite.

    Args:
        name: `lite0` to `lite4`.
        labels: class names.
        anchor_scale: anchor scale; None for the published one (3.0; lite4: 4.0).
        input_size: input size in pixels; None for the published one.

    Raises:
        InputError: the model is unknown, or a number is out of range.
    """
    if name not in _PUBLISHED:
        raise InputError(f"model {name!r}: choose one of {', '.join(_PUBLISHED)}")
    if anchor_scale is not None and not 0.25 <= anchor_scale <= 16:
        raise InputError(f"anchor scale {anchor_scale}: give a number from 0.25 to 16")
    if input_size is not None and not 64 <= input_size <= 2048:
        raise InputError(f"input size {input_size}: give a number of pixels from 64 to 2048")
    published = _PUBLISHED[name]
    return EfficientDetConfig(
        name=name,
        labels=labels,
        input_size=input_size or int(published["size"]),
        width_coefficient=published["width"],
        depth_coefficient=published["depth"],
        bifpn_width=int(published["fpn"]),
        bifpn_repeats=int(published["cells"]),
        head_repeats=int(published["head"]),
        anchor_scale=published["anchor"] if anchor_scale is None else anchor_scale,
    )
