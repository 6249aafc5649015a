"""The export as a whole: source in, bundle and parity report out."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from beeagent import __version__
from beeagent.detection.bundle import InputSpec, Manifest, Threshold
from beeagent.detection.geometry import Fit
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_export.bundle import bundle_files, hashes, refuse_existing, write_bundle
from beeagent_export.conversion import Precision, convert_heads
from beeagent_export.metadata import ModelDescription, add_metadata
from beeagent_export.parity import ParityReport, compare
from beeagent_export.pictures import find_pictures, lay_pictures, spread
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from beeagent_export.progress import Progress
from beeagent_export.report import report_to_json, written_report
from beeagent_export.source import Source, load_source, refuse_unsupported
from beeagent_export.writable import refuse_unwritable

_PARITY_PICTURES = 8
# What a manifest takes, and stays readable in file names and messages.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VERSION = r"[A-Za-z0-9._+-]{1,64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export and how.

    Attributes:
        source: the trained detector.
        out: folder of the bundle.
        report: where the parity report goes.
        name: of the model.
        version: of the model.
        licence: SPDX expression for the weights.
        precision: what the model computes in.
        calibrate: the user's own pictures: a manifest or a folder; needed for int8, and for a parity report.
        calibration_pictures: how many of them to calibrate on, at most.
        labels: names of the classes, where the source does not know them.
        input_size: side of the input in pixels; None for the source's own.
        fit: how a frame is laid into the input.
        threshold: the confidence from which a detection counts, 0 to 1; None for 0.5, which nobody chose.
        postprocess: options of the op in the graph.
        force: replace a bundle that is there.

    Raises:
        InputError: options do not fit together.
    """

    source: Path
    out: Path
    report: Path
    name: str
    version: str
    licence: str
    precision: Precision
    calibrate: Path | None
    calibration_pictures: int = 200
    labels: Path | None = None
    input_size: int | None = None
    fit: Fit = Fit.LETTERBOX
    threshold: float | None = None
    postprocess: PostProcessOptions = field(default_factory=PostProcessOptions)
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision is Precision.INT8 and self.calibrate is None:
            raise InputError(
                "int8 needs --calibrate PICTURES: a manifest or folder of some hundred pictures like those that "
                "the camera will give"
            )
        for option, value, pattern in (("name", self.name, _NAME), ("model-version", self.version, _VERSION)):
            if re.fullmatch(pattern, value) is None:
                raise InputError(
                    f"--{option} is {value!r}: allowed are letters, digits, dots, underscores and hyphens, 64 at most"
                )
        if self.report.is_dir():
            raise InputError(f"the report {self.report} is a folder: give a file name with --report")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        manifest: of the bundle.
        size: of the .tflite, in bytes.
        parity: against the source; None without pictures.
    """

    manifest: Manifest
    size: int
    parity: ParityReport | None


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The user's pictures, laid into the model's input, each with its name."""

    calibration: tuple[tuple[str, NDArray[np.uint8]], ...]
    parity: tuple[tuple[str, NDArray[np.uint8]], ...]
    parity_seen: bool


def export_bundle(options: ExportOptions, *, progress: Progress) -> ExportResult:
    """Export a trained detector as a bundle, with a parity report beside it.

    Args:
        options: what and how.
        progress: is told how far it has come.

    Raises:
        InputError: the source, the pictures or the output cannot be used; nothing is left behind.
        BeeagentError: the conversion failed; nothing is left behind.
    """
    refuse_existing(options.out, force=options.force)
    refuse_unwritable(options.out, what="bundle")
    refuse_unwritable(options.report, what="report")
    refuse_unsupported(options.source)
    paths = find_pictures(options.calibrate) if options.calibrate is not None else ()
    progress.stage("loading the source")
    source = load_source(options.source, labels=options.labels, input_size=options.input_size, fit=options.fit)
    pictures = _read_pictures(paths, source, options, progress)
    calibration = [pixels for _, pixels in pictures.calibration]
    converted = convert_heads(
        source.heads,
        precision=options.precision,
        calibration=progress.track(calibration, "calibrating", len(calibration)),
    )
    progress.stage("comparing with the source")
    parity = (
        compare(
            source.heads,
            converted,
            pictures.parity,
            score_threshold=options.postprocess.score_threshold,
            seen_in_calibration=pictures.parity_seen,
        )
        if pictures.parity
        else None
    )
    progress.stage("writing the bundle")
    threshold = _threshold(options.threshold)
    model = add_metadata(
        append_postprocess(converted, source.heads, options.postprocess), _describe(source, options, threshold)
    )
    files = bundle_files(model, source.heads.labels)
    manifest = Manifest(
        name=options.name,
        version=options.version,
        licence=options.licence,
        files=hashes(files),
        input=InputSpec(
            width=source.heads.width,
            height=source.heads.height,
            fit=source.heads.fit,
            mean=source.heads.mean,
            std=source.heads.std,
        ),
        labels=list(source.heads.labels),
        threshold=threshold,
        provenance={**source.provenance, "export": _provenance(options, len(calibration), parity)},
    )
    report = nullcontext() if parity is None else written_report(options.report, report_to_json(manifest, parity))
    with report:
        write_bundle(options.out, manifest, files, force=options.force)
    return ExportResult(manifest=manifest, size=len(model), parity=parity)


def _read_pictures(paths: Sequence[Path], source: Source, options: ExportOptions, progress: Progress) -> _Pictures:
    calibration = spread(paths, options.calibration_pictures) if options.precision is Precision.INT8 else ()
    used = set(calibration)
    unseen = [path for path in paths if path not in used]
    parity = spread(unseen or paths, _PARITY_PICTURES)
    wanted = list(dict.fromkeys([*calibration, *parity]))
    laid = dict(
        zip(wanted, progress.track(lay_pictures(wanted, source.heads), "reading pictures", len(wanted)), strict=True)
    )
    return _Pictures(
        tuple((path.name, laid[path]) for path in calibration),
        tuple((path.name, laid[path]) for path in parity),
        parity_seen=not unseen and bool(calibration),
    )


def _threshold(value: float | None) -> Threshold:
    if value is None:
        return Threshold(value=0.5, chosen_by="default, not chosen on any data")
    return Threshold(value=value, chosen_by="given to the export")


def _describe(source: Source, options: ExportOptions, threshold: Threshold) -> ModelDescription:
    heads = source.heads
    return ModelDescription(
        name=options.name,
        description=f"Finds {', '.join(heads.labels)} in a picture ({source.architecture}, {options.precision.value}).",
        version=options.version,
        licence=options.licence,
        labels=heads.labels,
        width=heads.width,
        height=heads.height,
        mean=heads.mean,
        std=heads.std,
        largest_input=255.0,  # every precision takes pixels as they are
        smallest_input=0.0,
        score_threshold=threshold.value,
    )


def _provenance(options: ExportOptions, calibrated_on: int, parity: ParityReport | None) -> dict[str, Any]:
    """Say how the model was converted, with names of files but not where on this machine they lie."""
    differences = parity.to_json() if parity is not None else {}
    differences.pop("pictures", None)
    return {
        "precision": options.precision.value,
        "calibration": {"source": options.calibrate.name, "pictures": calibrated_on}
        if options.calibrate is not None and calibrated_on
        else None,
        "postprocess": asdict(options.postprocess),
        "parity": differences or None,
        "versions": {name: version(name) for name in ("tensorflow", "keras", "ai-edge-litert")}
        | {"beeagent": __version__},
    }
