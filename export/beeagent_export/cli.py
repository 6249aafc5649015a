"""The commands `export` and `adapt`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

from beeagent.errors import requires_extra
from beeagent_models.cli.options import Attribute, Certainty, PrecisionFloor, RecallFloor, Series
from typer import Argument, Option

Force = Annotated[bool, Option("--force", help="Replace an existing bundle.")]
Verbose = Annotated[bool, Option("--verbose", help="Show TensorFlow's output.")]


def export(
    source: Annotated[
        Path,
        Argument(
            help="A checkpoint of `beeagent train`, or the output of exporter_main_v2.py of the TensorFlow 2 Object "
            "Detection API for an EfficientDet: saved_model and pipeline.config."
        ),
    ],
    *,
    out: Annotated[Path, Option(help="Folder of the bundle to write.")],
    calibrate: Annotated[
        Path | None,
        Option(
            metavar="IMAGES",
            help="Your own images to calibrate int8 with: a Ground Truth manifest, a COCO file, or a folder (a YOLO "
            "folder, or just images).",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        Option(
            metavar="int8|dynamic|float16|float32",
            help="Precision of the model. Default: int8. Repeatable: further bundles are written beside the first, as "
            "OUT-float16.",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        Option(
            metavar="DATA[=LABELS]",
            help="Labelled images, as for evaluate, to evaluate the source and each precision on. Repeatable.",
        ),
    ] = None,
    calibrate_confidence: Annotated[
        list[str] | None,
        Option(
            metavar="DATA[=LABELS]",
            help="Labelled images that were not trained on, with and without bees, as from your camera: calibrates "
            "confidence to precision. Needs --validate, preferably with other images. Repeatable.",
        ),
    ] = None,
    attribute: Attribute = None,
    max_drop: Annotated[
        float, Option(help="Maximum loss of AP in points; no bundle is written if a precision loses more.")
    ] = 0.5,
    calibration_images: Annotated[
        int,
        Option(min=1, max=10_000, help="Maximum number of calibration images, evenly spread over the dataset."),
    ] = 200,
    labels: Annotated[
        Path | None,
        Option(
            help="Class names of a SavedModel: its label map (.pbtxt), or one per line. Default: label_map.pbtxt "
            "beside its pipeline.config."
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        Option(
            metavar="WIDTHxHEIGHT",
            help="Input size in pixels, such as 640x384; one number for a square. Multiples of 32, preferably of 128. "
            "Default: the source's.",
        ),
    ] = None,
    fit: Annotated[
        str | None,
        Option(
            metavar="letterbox|corner|stretch",
            help="How the agent fits a frame into the input. Default: the source's, else letterbox.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option(min=0, max=1, help="Minimum confidence of a detection. Default: best F1 on --validate, or 0.5."),
    ] = None,
    precision_floor: PrecisionFloor = None,
    certainty: Certainty = None,
    recall_floor: RecallFloor = None,
    max_detections: Annotated[int, Option(min=1, max=1000, help="Maximum number of detections per image.")] = 100,
    min_score: Annotated[float, Option(min=0, max=1, help="Score threshold of the model's post-processing.")] = 0.01,
    iou: Annotated[float, Option(min=0.01, max=1, help="IoU threshold of non-maximum suppression.")] = 0.5,
    name: Annotated[str | None, Option(help="Name of the model. Default: the bundle's folder.")] = None,
    model_version: Annotated[str, Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[str, Option(help="SPDX licence expression of the weights.")] = "NOASSERTION",
    report: Annotated[
        Path | None, Option(help="JSON report; the HTML report is written beside it. Default: OUT.report.json.")
    ] = None,
    float16_checkpoint: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Also write the checkpoint with kernels as float16, half the size, for beeagent adapt."
        ),
    ] = None,
    force: Force = False,
    verbose: Verbose = False,
) -> None:
    """Turn a trained EfficientDet into a quantized, standard TFLite model, in a bundle with labels and manifest.

    beeagent export bees.npz --calibrate photos/ --out bees
    """
    with requires_extra("export"):
        from beeagent.detection import Fit
        from beeagent_models.efficientdet.input_size import parse_input_size
        from beeagent_models.evaluation import ThresholdChoice

        from beeagent_export.conversion import Precision
        from beeagent_export.export_command import run_export
        from beeagent_export.options import ExportOptions, parse_choice
        from beeagent_export.postprocess import PostProcessOptions
    out = Path(os.path.normpath(out))
    run_export(
        ExportOptions(
            source=source,
            out=out,
            report=report or out.with_name(f"{out.name}.report.json") if out.name else out,
            name=name or out.resolve().name,
            version=model_version,
            licence=licence,
            precisions=tuple(parse_choice(Precision, each, "--precision") for each in precision or ["int8"]),
            calibrate=calibrate,
            calibration_images=calibration_images,
            labels=labels,
            input_size=parse_input_size(input_size) if input_size is not None else None,
            fit=parse_choice(Fit, fit, "--fit") if fit is not None else None,
            validate=tuple(validate or ()),
            calibrate_confidence=tuple(calibrate_confidence or ()),
            attribute=attribute,
            max_drop=max_drop,
            choice=ThresholdChoice(
                fixed=threshold, precision_floor=precision_floor, recall_floor=recall_floor, certainty=certainty
            ),
            postprocess=PostProcessOptions(max_detections=max_detections, score_threshold=min_score, iou_threshold=iou),
            float16_checkpoint=float16_checkpoint,
            force=force,
        ),
        verbose=verbose,
    )


def adapt(
    *,
    data: Annotated[
        list[str],
        Option(
            metavar="PATH[=LABELS]",
            help="Labelled images of your camera: a Ground Truth manifest, a COCO file or a YOLO folder. Repeatable.",
        ),
    ],
    out: Annotated[Path, Option(help="Folder of the bundle to write. The report is OUT.report.json.")],
    base: Annotated[
        Path | None, Option(metavar="CHECKPOINT", help="Checkpoint to start from. Default: that of the released model.")
    ] = None,
    minutes: Annotated[float, Option(min=1, max=100_000, help="Maximum training time, if 200 steps fit.")] = 30.0,
    steps: Annotated[int | None, Option(min=1, help="Instead of --minutes: training steps of 8 images.")] = None,
    attribute: Attribute = None,
    also: Annotated[
        list[str] | None,
        Option(
            metavar="PATH[=LABELS][@WEIGHT]",
            help="Further dataset to train on; its share is relative to that of your images, 1. Repeatable.",
        ),
    ] = None,
    input_size: Annotated[
        list[str] | None,
        Option(
            metavar="WIDTHxHEIGHT",
            help="Further input size to export for, such as 640x384, as OUT-640x384. Repeatable.",
        ),
    ] = None,
    held_back: Annotated[float, Option(metavar="RATIO", help="Share of your images held back to evaluate.")] = 0.25,
    series: Series = None,
    precision_floor: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            help="Choose the threshold with the best recall at this precision or more. Default: 0.9, or the best F1 if "
            "fewer than 50 boxes are held back.",
        ),
    ] = None,
    run: Annotated[Path | None, Option(help="Folder of the run, resumed if it exists. Default: OUT.run.")] = None,
    seed: Annotated[int, Option(min=0, help="Random seed of the split and of the training.")] = 0,
    workers: Annotated[int, Option(min=1, max=64, help="Number of processes that make training images.")] = 1,
    force: Force = False,
    verbose: Verbose = False,
) -> None:
    """Adapt the released model to your own camera, with some tens of labelled images.

    Trains on most of the series, evaluates the model before and after on the others, and writes a bundle only if it is
    better. You can stop it at any time: the same command resumes it.

    beeagent adapt --data mine/output.manifest --out models/mine
    """
    with requires_extra("train,export"):
        from beeagent_export.source import prepare_keras

        prepare_keras()
        from beeagent_models.efficientdet.input_size import parse_input_size

        from beeagent_export.adapt_command import run_adapt
        from beeagent_export.adaptation import AdaptationOptions
    run_adapt(
        AdaptationOptions(
            data=tuple(data),
            attribute=attribute,
            also=tuple(also or ()),
            base=base,
            out=out,
            run=run,
            input_sizes=tuple(parse_input_size(text) for text in input_size or ()),
            held_back=held_back,
            series=series,
            precision_floor=precision_floor,
            minutes=minutes,
            steps=steps,
            seed=seed,
            workers=workers,
            force=force,
            command=" ".join(["beeagent", *sys.argv[1:]]),
        ),
        verbose=verbose,
    )
