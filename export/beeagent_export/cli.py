"""The commands `beeagent export` and `beeagent adapt`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from beeagent.errors import InputError


def export(  # noqa: PLR0913 - an argument is an option of the command
    source: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint that `beeagent train` wrote, or what exporter_main_v2.py of the TensorFlow 2 Object "
            "Detection API wrote of an EfficientDet: saved_model and pipeline.config."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="PICTURES",
            help="Your own pictures, from which int8 learns its ranges: a Ground Truth manifest, a COCO file, or a "
            "folder (a YOLO folder, or just pictures).",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="int8|dynamic|float16|float32",
            help="What the model computes in. Default: int8. Repeatable: the bundles of further ones lie beside the "
            "first, as OUT-float16.",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA[=LABELS]",
            help="Labelled pictures, as for evaluate, to measure the source and each precision on. Repeatable.",
        ),
    ] = None,
    calibrate_confidence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA[=LABELS]",
            help="Labelled images that were not trained on, with and without bees as the camera will see them: makes "
            "confidence mean precision. Needs --validate, best with other images. Repeatable.",
        ),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The label attribute, of manifests that have several."),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(help="Points of AP that a precision may lose against its source; over it nothing is released."),
    ] = 0.5,
    calibration_pictures: Annotated[
        int, typer.Option(min=1, max=10_000, help="Calibrate on at most so many pictures, evenly spread.")
    ] = 200,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Names of a SavedModel's classes: its label map (.pbtxt), or one a line. Default: label_map.pbtxt "
            "beside its pipeline.config."
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Of the input in pixels, such as 640x384; one number for a square. Multiples of 32, best of 128. "
            "Default: the source's.",
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="letterbox|corner|stretch",
            help="How the agent lays a frame into the input. Default: as the source says, else letterbox.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Confidence from which a detection counts. Default: best F1 on --validate, or 0.5."
        ),
    ] = None,
    precision_floor: Annotated[
        float | None, typer.Option(help="Choose the threshold with the best recall at this precision or more.")
    ] = None,
    certainty: Annotated[
        float | None,
        typer.Option(help="Confidence level at which --precision-floor is kept, such as 0.95; see evaluate."),
    ] = None,
    recall_floor: Annotated[
        float | None, typer.Option(help="Choose the threshold with the best precision at this recall or more.")
    ] = None,
    max_detections: Annotated[int, typer.Option(min=1, max=1000, help="Detections of a picture, at most.")] = 100,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence below which the model itself drops a detection.")
    ] = 0.05,
    iou: Annotated[
        float, typer.Option(min=0.01, max=1, help="Overlap from which the weaker of two boxes is dropped.")
    ] = 0.5,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the bundle's folder.")] = None,
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[str, typer.Option(help="SPDX licence expression of the weights.")] = "NOASSERTION",
    report: Annotated[
        Path | None,
        typer.Option(help="Report for programs; the one for people lies beside it. Default: OUT.report.json."),
    ] = None,
    float16_checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the checkpoint with kernels as float16, half the size: for beeagent adapt."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints.")] = False,
) -> None:
    """Turn a trained EfficientDet into a quantized, standard TFLite model, in a bundle with labels and manifest.

    beeagent export bees.npz --calibrate photos/ --out bees
    """
    with _packages("export"):
        from beeagent_models.evaluation.operating_point import ThresholdChoice  # noqa: PLC0415 - the command line starts light

        from beeagent_export.export_command import run_export  # noqa: PLC0415 - as above
    run_export(
        source=source,
        out=out,
        calibrate=calibrate,
        precisions=precision or [],
        validate=validate or [],
        calibrate_confidence=calibrate_confidence or [],
        attribute=attribute,
        max_drop=max_drop,
        calibration_pictures=calibration_pictures,
        labels=labels,
        input_size=input_size,
        fit=fit,
        choice=ThresholdChoice(
            fixed=threshold, precision_floor=precision_floor, recall_floor=recall_floor, certainty=certainty
        ),
        max_detections=max_detections,
        min_score=min_score,
        iou=iou,
        name=name,
        model_version=model_version,
        licence=licence,
        report=report,
        float16_checkpoint=float16_checkpoint,
        force=force,
        verbose=verbose,
    )


def adapt(  # noqa: PLR0913 - an argument is an option of the command
    *,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="PATH[=LABELS]",
            help="Labelled images of your camera: a Ground Truth manifest, a COCO file or a YOLO folder. Repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write. The report is OUT.report.json.")],
    base: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="Checkpoint to start from. Default: that of the released model."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=1, max=100_000, help="Time for training, at most, if 200 steps fit into it.")
    ] = 30.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="In place of --minutes: train this number of steps, of 8 images each.")
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The label attribute, of manifests that have several."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=LABELS][@WEIGHT]",
            help="Train on this dataset, too, with this share beside your images, which have 1. Repeatable.",
        ),
    ] = None,
    input_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Export for this input as well, such as 640x384, as OUT-640x384. Repeatable.",
        ),
    ] = None,
    held_back: Annotated[
        float, typer.Option(metavar="RATIO", help="Share of your images that are not trained on but measured on.")
    ] = 0.25,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="What in an image's name names its series. Default: the name up to its last number."
        ),
    ] = None,
    precision_floor: Annotated[
        float, typer.Option(min=0, max=1, help="Choose the threshold with the best recall at this precision or more.")
    ] = 0.95,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the training run, resumed if it is there. Default: OUT.run.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the series held back, and decides the training.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that make training images.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints.")] = False,
) -> None:
    """Adapt the released model to your own camera, with some tens of labelled images.

    Trains on most of the series, measures the model before and after on the others, and writes a bundle only if it is
    better. Stop it at any time: the same command resumes it.

    beeagent adapt --data mine/output.manifest --out models/mine
    """
    with _packages("train,export"):
        from beeagent_export.source import prepare_keras  # noqa: PLC0415 - the command line starts light

        prepare_keras()
        from beeagent_export.adapt_command import run_adapt  # noqa: PLC0415 - as above
    run_adapt(
        data=data,
        attribute=attribute,
        also=also or [],
        base=base,
        out=out,
        run=run,
        input_sizes=input_size or [],
        held_back=held_back,
        series=series,
        precision_floor=precision_floor,
        minutes=minutes,
        steps=steps,
        seed=seed,
        workers=workers,
        force=force,
        verbose=verbose,
    )


@contextlib.contextmanager
def _packages(extras: str) -> Iterator[None]:
    """Run the block that imports what a command needs.

    Args:
        extras: of the package, that bring it.

    Raises:
        InputError: a package is missing; says which extras to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"beeagent", "beeagent_models", "beeagent_export"}:
            raise
        raise InputError(f"this command needs the package {package}: pip install 'beeagent[{extras}]'") from None
