"""Runs an export: loads the source, converts, compares, evaluates, and writes bundles and report."""

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

from beeagent_export.bundle import atomic_files, refuse_existing, refuse_unwritable, write_bundle
from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.images import find_images, resize_images, spread
from beeagent_export.measurement import Measured, measure_model, read_validation, refuse_other_labels
from beeagent_export.options import ExportOptions
from beeagent_export.parity import compare
from beeagent_export.postprocess import append_postprocess
from beeagent_export.report import report_files
from beeagent_export.source import Source, load_source, refuse_unsupported
from beeagent_export.terminal import Progress
from beeagent_export.variant import Variant, build_variant

_REPORT_IMAGES = 8
# Minimum confidence in the calibration: below it, an image has thousands of irrelevant detections.
_MIN_SCORE = 0.01


@dataclass(frozen=True, slots=True)
class ConfidenceCalibration:
    """Result of the confidence calibration.

    Attributes:
        scaling: scale and bias of the class logits.
        dataset: name of the dataset.
        images: number of images.
        detections: number of detections with a confidence of 0.01 or more.
        error_before: expected calibration error, 0 to 1.
        error_after: expected calibration error on the same detections with the scaling applied.
    """

    scaling: PlattScaling
    dataset: str
    images: int
    detections: int
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the manifest."""
        return {
            "scale": round(self.scaling.scale, 6),
            "bias": round(self.scaling.bias, 6),
            "dataset": self.dataset,
            "images": self.images,
            "detections": self.detections,
            "expected_calibration_error_before": round(self.error_before, 4),
            "expected_calibration_error_after": round(self.error_after, 4),
        }

    def summary(self) -> str:
        """Return a one-line summary."""
        return (
            f"confidence calibrated on {self.dataset}: {self.images} images, {self.detections} detections; "
            f"class logits scaled by {self.scaling.scale:.3f}, bias {self.scaling.bias:.3f}; "
            f"expected calibration error {self.error_before:.3f} before, {self.error_after:.3f} after"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """Result of an export.

    Attributes:
        variants: one per precision, in the order of the options.
        reference: measurements of the float source; None without images.
        confidence: result of the confidence calibration; None without.
    """

    variants: tuple[Variant, ...]
    reference: Measured | None
    confidence: ConfidenceCalibration | None = None


@dataclass(frozen=True, slots=True)
class _Images:
    """The user's images: resized to the model's input, and in original size for the report."""

    calibration: tuple[NDArray[np.uint8], ...]
    parity: tuple[tuple[str, NDArray[np.uint8]], ...]
    parity_in_calibration: bool
    report: tuple[tuple[str, NDArray[np.uint8]], ...]


def export_bundle(options: ExportOptions, *, progress: Progress) -> ExportResult:
    """Export a trained detector as one bundle per precision, with a report beside the first bundle.

    Args:
        options: settings of the export.
        progress: progress display.

    Raises:
        InputError: the source, the images or the output cannot be used; nothing is written.
        BeeagentError: the conversion failed, and nothing is written; or a variant lost more AP than allowed, and only
            the report is written.
    """
    for precision in options.precisions:
        refuse_existing(options.bundle_folder(precision), force=options.force)
    refuse_unwritable(options.out, what="bundle")
    refuse_unwritable(options.report, what="report")
    refuse_unsupported(options.source)
    paths = find_images(options.calibrate, attribute=options.attribute) if options.calibrate is not None else ()
    validation = read_validation(options.validate, attribute=options.attribute)
    confidence_data = read_validation(options.calibrate_confidence, attribute=options.attribute)
    progress.stage("loading the source")
    source = _load(options)
    for labelled in (validation, confidence_data):
        if labelled is not None:
            refuse_other_labels(labelled, source.heads.labels)
    confidence = None
    if confidence_data is not None:
        source, confidence = _calibrate_confidence(source, confidence_data, options, progress)
    images = _read_images(paths, validation, source, options, progress)
    export = _Export(options, source, images, validation, progress)
    reference = export.measure_source() if images.report else None
    variants = tuple(export.convert(precision, reference) for precision in options.precisions)
    result = ExportResult(variants=variants, reference=reference, confidence=confidence)
    rejection = _rejection(options, variants)
    with atomic_files(report_files(options, source, result.variants, reference, images.report, rejection=rejection)):
        if rejection is None:
            progress.stage("writing the bundles")
            for variant in variants:
                write_bundle(variant.out, variant.manifest, variant.files, force=options.force)
    if rejection is not None:
        raise BeeagentError(f"{rejection}; see {options.html_report}")
    return result


def _load(options: ExportOptions, confidence: PlattScaling | None = None) -> Source:
    size, labels, fit = options.input_size, options.labels, options.fit
    return load_source(options.source, labels=labels, input_size=size, fit=fit, confidence=confidence)


def _calibrate_confidence(
    source: Source, data: Dataset, options: ExportOptions, progress: Progress
) -> tuple[Source, ConfidenceCalibration]:
    """Fit scale and bias of the class logits on images that were not trained on, and apply them to the source."""
    postprocess = replace(options.postprocess, score_threshold=min(_MIN_SCORE, options.postprocess.score_threshold))
    model = append_postprocess(convert_heads(source.heads, precision=Precision.FLOAT32), source.heads, postprocess)
    without_floors = replace(options, choice=ThresholdChoice())
    step = progress.stage("calibrating confidence", len(data.images))
    evaluation = measure_model(model, source.heads, without_floors, images=(), validation=data, step=step).evaluation
    if evaluation is None:
        raise RuntimeError("the float source was not evaluated")
    confidences, correct = scored_detections(evaluation.detections, evaluation.metrics.matches)
    scaling = fit_platt(confidences, correct)
    confidence = ConfidenceCalibration(
        scaling=scaling,
        dataset=data.name,
        images=len(data.images),
        detections=len(confidences),
        error_before=reliability_curve(confidences, correct).error or 0.0,
        error_after=reliability_curve(scaling.apply(confidences), correct).error or 0.0,
    )
    calibrated = _load(options, scaling)
    provenance = {**calibrated.provenance, "confidence_calibration": confidence.to_json()}
    return replace(calibrated, provenance=provenance), confidence


@dataclass(frozen=True, slots=True)
class _Export:
    """State that the variants of an export share."""

    options: ExportOptions
    source: Source
    images: _Images
    validation: Dataset | None
    progress: Progress

    def measure_source(self) -> Measured:
        """Measure the source in float32."""
        self.progress.stage("converting the source")
        converted = convert_heads(self.source.heads, precision=Precision.FLOAT32)
        return self._measure(append_postprocess(converted, self.source.heads, self.options.postprocess), "source")

    def convert(self, precision: Precision, reference: Measured | None) -> Variant:
        """Convert, compare and measure one variant."""
        heads, options, progress, images = self.source.heads, self.options, self.progress, self.images
        calibration = images.calibration if precision is Precision.INT8 else ()
        tracked = progress.track(calibration, "calibrating", len(calibration))
        converted = convert_heads(heads, precision=precision, calibration=tracked)
        progress.stage(f"comparing {precision.value} with the source")
        parity = None
        if images.parity:
            in_calibration = images.parity_in_calibration and precision is Precision.INT8
            threshold = options.postprocess.score_threshold
            parity = compare(
                heads, converted, images.parity, score_threshold=threshold, seen_in_calibration=in_calibration
            )
        model = append_postprocess(converted, heads, options.postprocess)
        return build_variant(
            self.source,
            options,
            precision,
            model=model,
            calibration_images=len(calibration),
            parity=parity,
            measured=self._measure(model, precision.value),
            reference=reference,
        )

    def _measure(self, model: bytes, name: str) -> Measured:
        step = self.progress.stage(f"measuring {name}", len(self.validation.images) if self.validation else 0)
        images = [pixels for _, pixels in self.images.report]
        heads, options, validation = self.source.heads, self.options, self.validation
        return measure_model(model, heads, options, images=images, validation=validation, step=step)


def _read_images(
    paths: Sequence[Path], validation: Dataset | None, source: Source, options: ExportOptions, progress: Progress
) -> _Images:
    calibration = spread(paths, options.calibration_images) if Precision.INT8 in options.precisions else ()
    # Parity on images that int8 was not calibrated on, if there are any.
    labelled = [image.path for image in validation.images] if validation is not None else []
    in_calibration = set(calibration)
    unseen = [path for path in paths if path not in in_calibration]
    parity = spread(labelled or unseen or paths, _REPORT_IMAGES)
    selected = list(dict.fromkeys([*calibration, *parity]))
    images = progress.track(resize_images(selected, source.heads), "reading images", len(selected))
    resized = dict(zip(selected, images, strict=True))
    return _Images(
        tuple(resized[path] for path in calibration),
        tuple((path.name, resized[path]) for path in parity),
        parity_in_calibration=not (labelled or unseen) and bool(calibration),
        report=tuple((path.name, read_image(path)) for path in parity),
    )


def _rejection(options: ExportOptions, variants: Sequence[Variant]) -> str | None:
    """Return an error text if a variant lost more AP than allowed, else None."""
    rejected = [variant for variant in variants if variant.drop is not None and variant.drop > options.max_drop]
    if not rejected:
        return None
    lost = ", ".join(f"{variant.precision.value} lost {variant.drop:.2f}" for variant in rejected)
    return (
        f"no bundle is written: {lost} points of AP compared with the float source, but --max-drop is "
        f"{options.max_drop:g}; calibrate with more images from the camera, or train on more data"
    )
