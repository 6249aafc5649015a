"""The export as a whole: source in, bundles and report out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.camera import read_image
from beeagent.errors import BeeagentError
from beeagent_models.datasets import Dataset
from beeagent_models.evaluation import PlattScaling, ThresholdChoice, fit_platt, reliability_curve, scored_detections
from numpy.typing import NDArray

from beeagent_export.bundle import refuse_existing, refuse_unwritable, write_bundle, written
from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.images import find_images, resize_images, spread
from beeagent_export.measurement import Measured, measure_model, read_validation, refuse_other_labels
from beeagent_export.options import ExportOptions
from beeagent_export.parity import compare
from beeagent_export.postprocess import append_postprocess
from beeagent_export.report import report_files
from beeagent_export.source import Source, load_source, refuse_unsupported
from beeagent_export.terminal import Progress
from beeagent_export.variant import Variant, describe_variant

_SHOWN = 8
_MIN_SCORE = 0.01
"""From which confidence on detections are fitted: below, there are thousands of no consequence in each image."""


@dataclass(frozen=True, slots=True)
class ConfidenceCalibration:
    """How confidence was calibrated.

    Attributes:
        scaling: of the class logits.
        dataset: name of the data.
        images: how many.
        detections: how many, of confidence 0.01 or more.
        error_before: expected calibration error, 0 to 1.
        error_after: with the scaling applied, on the same detections.
    """

    scaling: PlattScaling
    dataset: str
    images: int
    detections: int
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "scale": round(self.scaling.scale, 6),
            "bias": round(self.scaling.bias, 6),
            "dataset": self.dataset,
            "images": self.images,
            "detections": self.detections,
            "expected_calibration_error_before": round(self.error_before, 4),
            "expected_calibration_error_after": round(self.error_after, 4),
        }

    def in_words(self) -> str:
        """Return a line for the user."""
        return (
            f"confidence calibrated on {self.dataset}: {self.images} images, {self.detections} detections; "
            f"class logits times {self.scaling.scale:.3f} plus {self.scaling.bias:.3f}; "
            f"expected calibration error {self.error_before:.3f} before, {self.error_after:.3f} after"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        variants: one a precision, in the order asked for.
        reference: the float source, measured as they were; None without images.
        confidence: how confidence was calibrated; None if it was not.
    """

    variants: tuple[Variant, ...]
    reference: Measured | None
    confidence: ConfidenceCalibration | None = None


@dataclass(frozen=True, slots=True)
class _Images:
    """The user's images: resized to the model's input, and in the original size for the report, with their names."""

    calibration: tuple[NDArray[np.uint8], ...]
    parity: tuple[tuple[str, NDArray[np.uint8]], ...]
    parity_seen: bool
    shown: tuple[tuple[str, NDArray[np.uint8]], ...]


def export_bundle(options: ExportOptions, *, progress: Progress) -> ExportResult:
    """Export a trained detector, a bundle a precision, with a report beside the first.

    Args:
        options: what and how.
        progress: receives the stages and counts.

    Raises:
        InputError: the source, the images or the output cannot be used; nothing is left behind.
        BeeagentError: the conversion failed, and nothing is left behind; or a variant lost more AP than it may, and
            the report alone says how much.
    """
    for precision in options.precisions:
        refuse_existing(options.out_of(precision), force=options.force)
    refuse_unwritable(options.out, what="bundle")
    refuse_unwritable(options.report, what="report")
    refuse_unsupported(options.source)
    paths = find_images(options.calibrate, attribute=options.attribute) if options.calibrate is not None else ()
    validation = read_validation(options.validate, attribute=options.attribute)
    confidence_data = read_validation(options.calibrate_confidence, attribute=options.attribute)
    progress.stage("loading the source")
    source = _loaded(options)
    for labelled in (validation, confidence_data):
        if labelled is not None:
            refuse_other_labels(labelled, source.heads.labels)
    confidence = None
    if confidence_data is not None:
        source, confidence = _calibrated(source, confidence_data, options, progress)
    images = _read_images(paths, validation, source, options, progress)
    export = _Export(options, source, images, validation, progress)
    reference = export.reference() if images.shown else None
    variants = tuple(export.variant(precision, reference) for precision in options.precisions)
    result = ExportResult(variants=variants, reference=reference, confidence=confidence)
    refused = _refused(options, variants)
    with written(report_files(options, source, result.variants, reference, images.shown, refused=refused)):
        if refused is None:
            progress.stage("writing the bundles")
            for variant in variants:
                write_bundle(variant.out, variant.manifest, variant.files, force=options.force)
    if refused is not None:
        raise BeeagentError(f"{refused}; see {options.page}")
    return result


def _loaded(options: ExportOptions, confidence: PlattScaling | None = None) -> Source:
    size, labels, fit = options.input_size, options.labels, options.fit
    return load_source(options.source, labels=labels, input_size=size, fit=fit, confidence=confidence)


def _calibrated(
    source: Source, data: Dataset, options: ExportOptions, progress: Progress
) -> tuple[Source, ConfidenceCalibration]:
    """Fit scale and bias of the class logits to what the float source finds in images that were not trained on.

    Returns the source with its confidence calibrated, and how.
    """
    postprocess = replace(options.postprocess, score_threshold=min(_MIN_SCORE, options.postprocess.score_threshold))
    model = append_postprocess(convert_heads(source.heads, precision=Precision.FLOAT32), source.heads, postprocess)
    any_choice = replace(options, choice=ThresholdChoice())
    step = progress.stage("calibrating confidence", len(data.images))
    evaluation = measure_model(model, source.heads, any_choice, shown=(), validation=data, step=step).evaluation
    if evaluation is None:
        raise RuntimeError("labelled images were given, but not measured")
    confidences, right = scored_detections(evaluation.found, evaluation.metrics.matches)
    scaling = fit_platt(confidences, right)
    confidence = ConfidenceCalibration(
        scaling=scaling,
        dataset=data.name,
        images=len(data.images),
        detections=len(confidences),
        error_before=reliability_curve(confidences, right).error or 0.0,
        error_after=reliability_curve(scaling.apply(confidences), right).error or 0.0,
    )
    calibrated = _loaded(options, scaling)
    provenance = {**calibrated.provenance, "confidence_calibration": confidence.to_json()}
    return replace(calibrated, provenance=provenance), confidence


@dataclass(frozen=True, slots=True)
class _Export:
    """What the variants of an export share."""

    options: ExportOptions
    source: Source
    images: _Images
    validation: Dataset | None
    progress: Progress

    def reference(self) -> Measured:
        """Measure the source itself, in float32."""
        self.progress.stage("converting the source")
        converted = convert_heads(self.source.heads, precision=Precision.FLOAT32)
        return self._measured(append_postprocess(converted, self.source.heads, self.options.postprocess), "source")

    def variant(self, precision: Precision, reference: Measured | None) -> Variant:
        """Make one variant."""
        heads, options, progress, images = self.source.heads, self.options, self.progress, self.images
        calibration = images.calibration if precision is Precision.INT8 else ()
        tracked = progress.track(calibration, "calibrating", len(calibration))
        converted = convert_heads(heads, precision=precision, calibration=tracked)
        progress.stage(f"comparing {precision.value} with the source")
        parity = None
        if images.parity:
            seen = images.parity_seen and precision is Precision.INT8
            threshold = options.postprocess.score_threshold
            parity = compare(heads, converted, images.parity, score_threshold=threshold, seen_in_calibration=seen)
        model = append_postprocess(converted, heads, options.postprocess)
        return describe_variant(
            self.source,
            options,
            precision,
            model=model,
            calibrated_on=len(calibration),
            parity=parity,
            measured=self._measured(model, precision.value),
            reference=reference,
        )

    def _measured(self, model: bytes, what: str) -> Measured:
        step = self.progress.stage(f"measuring {what}", len(self.validation.images) if self.validation else 0)
        shown = [pixels for _, pixels in self.images.shown]
        heads, options, validation = self.source.heads, self.options, self.validation
        return measure_model(model, heads, options, shown=shown, validation=validation, step=step)


def _read_images(
    paths: Sequence[Path], validation: Dataset | None, source: Source, options: ExportOptions, progress: Progress
) -> _Images:
    calibration = spread(paths, options.calibration_images) if Precision.INT8 in options.precisions else ()
    used = set(calibration)
    # Best on what int8 was not calibrated on.
    labelled = [image.path for image in validation.images] if validation is not None else []
    unseen = [path for path in paths if path not in used]
    parity = spread(labelled or unseen or paths, _SHOWN)
    wanted = list(dict.fromkeys([*calibration, *parity]))
    images = progress.track(resize_images(wanted, source.heads), "reading images", len(wanted))
    resized = dict(zip(wanted, images, strict=True))
    return _Images(
        tuple(resized[path] for path in calibration),
        tuple((path.name, resized[path]) for path in parity),
        parity_seen=not (labelled or unseen) and bool(calibration),
        shown=tuple((path.name, read_image(path)) for path in parity),
    )


def _refused(options: ExportOptions, variants: Sequence[Variant]) -> str | None:
    """Return an error about the variants that lost more AP than allowed; None if none did."""
    over = [variant for variant in variants if variant.drop is not None and variant.drop > options.max_drop]
    if not over:
        return None
    lost = ", ".join(f"{variant.precision.value} lost {variant.drop:.2f}" for variant in over)
    return (
        f"nothing is released: of the points of AP that the float source has, {lost}, and --max-drop allows "
        f"{options.max_drop:g}; calibrate on more images like those of the camera, or train with more"
    )
