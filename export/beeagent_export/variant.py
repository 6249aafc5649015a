"""The exported model of one precision, with its bundle's manifest and files."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from beeagent import __version__
from beeagent.detection import Manifest, Threshold
from beeagent_models.evaluation import figures_of, threshold_of

from beeagent_export.bundle import bundle_files, hashes
from beeagent_export.conversion import Precision
from beeagent_export.measurement import Measured
from beeagent_export.metadata import ModelDescription, add_metadata
from beeagent_export.options import ExportOptions
from beeagent_export.parity import ParityReport
from beeagent_export.source import Source

_SPLIT = "validation"


@dataclass(frozen=True, slots=True)
class Variant:
    """The exported model of one precision.

    Attributes:
        precision: precision of the model.
        out: folder of the bundle.
        manifest: manifest of the bundle.
        files: content of the other files of the bundle by name.
        parity: comparison with the source's raw heads; None without images.
        measured: measurements with the device's detector.
        drop: loss of AP against the float source, in points of 100; None without labelled images.
    """

    precision: Precision
    out: Path
    manifest: Manifest
    files: dict[str, bytes]
    parity: ParityReport | None
    measured: Measured
    drop: float | None

    @property
    def size(self) -> int:
        """Size of the .tflite in bytes."""
        return len(self.files["model.tflite"])

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the JSON report."""
        return {
            "model": self.manifest.name,
            "variant": self.precision.value,
            "files": self.manifest.files,
            **self.measured.to_json(),
            "size": self.size,
            "ap_drop": self.drop,
            "parity": self.parity.to_json() if self.parity is not None else None,
        }


def build_variant(  # noqa: PLR0913
    source: Source,
    options: ExportOptions,
    precision: Precision,
    *,
    model: bytes,
    calibration_images: int,
    parity: ParityReport | None,
    measured: Measured,
    reference: Measured | None,
) -> Variant:
    """Choose the threshold and build the manifest and the files of the bundle.

    Args:
        source: exported source.
        options: settings of the export.
        precision: precision of the model.
        model: .tflite file with the post-processing op.
        calibration_images: number of calibration images.
        parity: comparison with the source's raw heads.
        measured: measurements of the model.
        reference: measurements of the float source; None without images.
    """
    threshold = _threshold(options, measured)
    heads = source.heads
    files = bundle_files(add_metadata(model, _describe(source, options, precision, threshold)), heads.labels)
    drop = None
    if reference is not None and reference.evaluation is not None and measured.evaluation is not None:
        drop = (reference.evaluation.metrics.ap - measured.evaluation.metrics.ap) * 100
    manifest = Manifest(
        name=options.model_name(precision),
        version=options.version,
        licence=options.licence,
        files=hashes(files),
        input=heads.input_spec,
        labels=list(heads.labels),
        threshold=threshold,
        metrics=[] if measured.evaluation is None else [figures_of(measured.evaluation, split=_SPLIT)],
        provenance={**source.provenance, "export": _provenance(options, precision, calibration_images, parity, drop)},
    )
    out = options.bundle_folder(precision)
    return Variant(precision, out, manifest, files, parity, measured, drop)


def _threshold(options: ExportOptions, measured: Measured) -> Threshold:
    if options.choice.fixed is not None:
        return Threshold(value=options.choice.fixed, chosen_by="given to the export")
    if measured.evaluation is None:
        return Threshold(value=0.5, chosen_by="default, not chosen on any data")
    return threshold_of(measured.evaluation, split=_SPLIT)


def _describe(source: Source, options: ExportOptions, precision: Precision, threshold: Threshold) -> ModelDescription:
    heads = source.heads
    return ModelDescription(
        name=options.model_name(precision),
        description=f"Finds {', '.join(heads.labels)} in an image ({source.architecture}, {precision.value}).",
        version=options.version,
        licence=options.licence,
        labels=heads.labels,
        width=heads.width,
        height=heads.height,
        mean=heads.mean,
        std=heads.std,
        largest_input=255.0,  # every precision has a uint8 input
        smallest_input=0.0,
        score_threshold=threshold.value,
    )


def _provenance(
    options: ExportOptions,
    precision: Precision,
    calibration_images: int,
    parity: ParityReport | None,
    drop: float | None,
) -> dict[str, Any]:
    """Describe the conversion; paths without their folders."""
    differences = parity.to_json() if parity is not None else {}
    differences.pop("images", None)
    return {
        "precision": precision.value,
        "calibration": {"source": options.calibrate.name, "images": calibration_images}
        if options.calibrate is not None and calibration_images
        else None,
        "postprocess": asdict(options.postprocess),
        "parity": differences or None,
        "ap_drop": None if drop is None else round(drop, 2),
        "versions": {name: version(name) for name in ("tensorflow", "keras", "ai-edge-litert")}
        | {"beeagent": __version__},
    }
