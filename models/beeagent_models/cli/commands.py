"""The commands `train`, `evaluate`, `compare`, `show` and `archive`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from beeagent.errors import InputError, requires_extra
from typer import Argument, Option

from beeagent_models.archive import ResultFormat
from beeagent_models.cli.options import DATA_HELP, Attribute, Certainty, Data, PrecisionFloor, RecallFloor, Threads

_EXIT_PROBLEMS = 1


def train(
    context: typer.Context,
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=LABELS][@WEIGHT]",
            help=f"{DATA_HELP} @2 doubles its share of the images. Or a .toml mixture file. Repeatable.",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH[=LABELS]", help="Held-out dataset for AP50 and AP75 during the run. Repeatable."),
    ] = None,
    attribute: Attribute = None,
    out: Annotated[Path, typer.Option(help="Folder of the run. An existing run is resumed.")],
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Classes of the detector. Default: those of the data, or bee.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="lite0|…|lite4", help="Architecture. Default: lite0.")] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Input size of the detector. Default: the architecture's square.")
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size of training images; smaller is faster. Default: the input size."),
    ] = None,
    anchor_scale: Annotated[float | None, typer.Option(help="Side of the finest anchors in strides.")] = None,
    backbone_weights: Annotated[Path | None, typer.Option(help="ImageNet weights of the backbone, .npz.")] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Initial checkpoint of the same architecture.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. Default: 8.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: 62,500, half a million images.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Training time instead of --steps.")] = None,
    synthetic: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Share of images that are synthetic scenes, 0 to 1.")
    ] = None,
    pasted: Annotated[
        float | None,
        typer.Option(metavar="RATIO", help="Share of images with cut-outs pasted onto other backgrounds, 0 to 1."),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(metavar="full|none", help="none: whole, unchanged images, as for an overfitting test."),
    ] = None,
    scenes: Annotated[int | None, typer.Option(help="Number of synthetic scenes to draw.")] = None,
    backgrounds: Annotated[int | None, typer.Option(help="Number of empty backgrounds to draw for cut-outs.")] = None,
    peak_learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of BiFPN and head matrices.")
    ] = None,
    backbone_factor: Annotated[float | None, typer.Option(help="Factor on the backbone's learning rate.")] = None,
    frozen_stages: Annotated[int | None, typer.Option(help="Number of first backbone stages to freeze.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between validations; 0 for never.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between saves of the state. Default: 200.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="auto|float32|bfloat16", help="Compute precision. auto: bfloat16 on a GPU, else float32."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of weights, images and their order.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Number of loader processes.")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Number of GPUs that share each batch, with KERAS_BACKEND=jax. Default: 1.")
    ] = None,
) -> None:
    """Train a detector on labelled images and synthetic scenes.

    Writes checkpoint.npz, the input of beeagent export, and training.json, the record of the run.
    You can stop it at any time: the same command resumes it. KERAS_BACKEND=jax trains on a GPU without TensorFlow.
    """
    with requires_extra("train"):
        from beeagent_models.training.command import run_training
    arguments = {name: value for name, value in context.params.items() if value is not None}
    run_training(arguments, command=" ".join(["beeagent", *sys.argv[1:]]))


def evaluate(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(help="Model bundle (a folder), the name of a bundled model, or a bare .tflite.")
    ] = None,
    data: Annotated[list[str] | None, typer.Argument(metavar="DATA[=LABELS]...", help=DATA_HELP)] = None,
    *,
    labels: Annotated[Path | None, Option(help="Labels of a bare .tflite, one per line.")] = None,
    threshold: Annotated[float | None, Option(help="Minimum confidence of a detection. Default: the bundle's.")] = None,
    best_f1: Annotated[bool, Option("--best-f1", help="Choose the best F1 on the first dataset.")] = False,
    precision_floor: PrecisionFloor = None,
    certainty: Certainty = None,
    max_false_alarms: Annotated[
        float | None,
        Option(help="Choose the threshold with the best recall at this number of detections per image without a box."),
    ] = None,
    recall_floor: RecallFloor = None,
    min_size: Annotated[
        float,
        Option(
            metavar="PIXELS",
            help="Ignore smaller objects (square root of the area at the model's input): they are neither hits nor "
            "misses.",
        ),
    ] = 0,
    as_json: Annotated[bool, Option("--json", help="Print metrics and curves as JSON.")] = False,
    plot: Annotated[Path | None, Option(help="File for the precision-recall curves: .png, .svg or .pdf.")] = None,
    images: Annotated[
        Path | None, Option("--pictures", help="Folder for the images, with hits, misses and false alarms drawn.")
    ] = None,
    false_alarms: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Folder for a contact sheet, a list and a manifest of the strongest false alarms in images without a "
            "box, to train on.",
        ),
    ] = None,
    record: Annotated[
        str | None,
        Option(metavar="SPLIT", help="Write threshold and metrics to the bundle's manifest, under this split."),
    ] = None,
    tiles: Annotated[
        str | None, Option(metavar="none|auto|CxR", help="As for the agent. Default: the bundle's.")
    ] = None,
    threads: Threads = 2,
    attribute: Attribute = None,
    tracks: Annotated[
        Path | None,
        typer.Option(
            metavar="TRUTH",
            help="Ground truth of tracks, in MOT challenge format or beeagent.tracks/1: evaluate tracks (HOTA, IDF1, "
            "MOTA, switches) instead of a model.",
        ),
    ] = None,
    crossings: Annotated[
        Path | None,
        typer.Option(
            metavar="TRUTH",
            help="Ground truth of crossings, beeagent.crossings/1: evaluate counts by line and direction.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Predicted tracks or crossings, in a format of the ground truth or as messages of the agent. {rate} "
            "in the name is replaced by each of --rates, for predictions from these frames alone.",
        ),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="30,15,…", help="Frame rates of the evaluation. Default: that of the video."),
    ] = None,
) -> None:
    """Evaluate a model on labelled images: AP, precision and recall at IoU 0.5, errors by kind and size, time.

    Reports each dataset separately at one threshold; for a dataset without a box, only false alarms.
    Choose a threshold on images that were not trained on and are not used for the final evaluation.

    Or evaluate tracks and counts of a video: --tracks, --crossings, --predictions and --rates.
    """
    if any(option is not None for option in (tracks, crossings, predictions, rates)):
        with requires_extra("evaluate"):
            from beeagent_models.evaluation.track_command import TrackEvaluationOptions, run_track_evaluation
        _refuse_model_options(context)
        run_track_evaluation(
            TrackEvaluationOptions(tracks=tracks, crossings=crossings, predictions=predictions, rates=rates),
            as_json=as_json,
        )
        return
    if model is None or not data:
        raise InputError("give a MODEL and DATA, or --tracks TRUTH --predictions FILE")
    with requires_extra("evaluate"):
        from beeagent_models.evaluation import ThresholdChoice
        from beeagent_models.evaluation.command import EvaluationOptions, run_evaluation
    has_choice = best_f1 or not (threshold is None and precision_floor is None and recall_floor is None)
    choice = ThresholdChoice(
        fixed=threshold, precision_floor=precision_floor, recall_floor=recall_floor, certainty=certainty
    )
    if best_f1 and choice != ThresholdChoice():
        raise InputError("--best-f1 excludes --threshold and the floors: leave them out")
    options = EvaluationOptions(
        labels=labels,
        choice=choice if has_choice else None,
        max_false_alarms=max_false_alarms,
        min_size=min_size,
        tiles=tiles,
        threads=threads,
        plot=plot,
        images=images,
        false_alarms=false_alarms,
        record=record,
        attribute=attribute,
    )
    run_evaluation(model=model, data=data, options=options, as_json=as_json)


def _refuse_model_options(context: typer.Context) -> None:
    """Refuse options of a model's evaluation together with those of tracks."""
    for name in context.params.keys() - {"tracks", "crossings", "predictions", "rates", "as_json"}:
        source = context.get_parameter_source(name)
        if source is not None and source.name not in {"DEFAULT", "DEFAULT_MAP"}:
            option = next(one for one in context.command.params if one.name == name)
            raise InputError(
                f"{option.opts[0]} is for the evaluation of a model: leave it out with --tracks and --crossings"
            )


def compare(
    data: Data,
    models: Annotated[
        list[str],
        Argument(
            metavar="[NAME=]MODEL...",
            help="Two to six: a bundle, a bundled model's name or a bare .tflite, optionally with ,tiles=CxR or "
            ",labels=FILE; a folder of results, IMAGE.json or IMAGE.jpg.json (Rekognition responses, "
            "messages of the agent); the ARN of a running Custom Labels model.",
        ),
    ],
    *,
    out: Annotated[Path | None, Option(help="HTML page to write: metrics, curves, images.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print all metrics and curves as JSON.")] = False,
    images: Annotated[int, Option("--pictures", help="Images on the page, with the most disagreement; 0 to 24.")] = 6,
    precision_floor: Annotated[
        float, Option(help="Draw detections at the best F1, and at this precision or more.")
    ] = 0.9,
    thresholds: Annotated[
        tuple[float, float] | None, Option(metavar="LOW HIGH", help="Draw detections at these two thresholds instead.")
    ] = None,
    keep: Annotated[Path | None, Option(help="Cache folder for responses of cloud models.")] = None,
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Count an image without a result as one without detections.")
    ] = False,
    hourly_price: Annotated[
        float, Option(help="US dollars per hour of the running cloud model: aws.amazon.com/rekognition/pricing")
    ] = 4.0,
    images_per_hour: Annotated[
        float | None, Option(help="Images per hour sent to the cloud model. Default: as fast as it responded.")
    ] = None,
    threads: Threads = 2,
    attribute: Attribute = None,
) -> None:
    """Compare device models, cloud models and stored results of either on the same labelled images.

    Precision, recall, F1 and AP at IoU 0.5, the best threshold of each, agreement, time, bytes sent and price.
    A cloud model is called once per image; it is not started or stopped.
    """
    with requires_extra("evaluate"):
        from beeagent_models.comparison.command import ComparisonOptions, run_comparison
        from beeagent_models.comparison.comparison import DrawingThresholds, Price
    run_comparison(
        ComparisonOptions(
            data=data,
            models=tuple(models),
            prices=Price(hourly_price, images_per_hour),
            drawing=DrawingThresholds(precision_floor, thresholds),
            allow_missing=allow_missing,
            keep=keep,
            threads=threads,
            as_json=as_json,
            page=out,
            images=images,
            attribute=attribute,
        )
    )


def show(
    image: Annotated[Path, Argument(help="Image or video of the result.")],
    result: Annotated[
        Path, Argument(help="A message of the agent, or a file with one per line; or a Rekognition response as JSON.")
    ],
    *,
    out: Annotated[Path, Option(help="Image to write, .png or .jpg.")],
    line: Annotated[
        int | None,
        Option(min=1, help="Line of the result. Default: the first with the image as source, or 1."),
    ] = None,
    threshold: Annotated[float, Option(help="Minimum confidence to draw, 0 to 1.")] = 0.0,
    places: Annotated[
        Path | None,
        Option(metavar="TOML", help="Lines and zones to draw, with the counts of the day if the file has them."),
    ] = None,
) -> None:
    """Draw boxes, labels, confidences and tracks of a result on its image."""
    with requires_extra("evaluate"):
        from beeagent_models.show import run_show
    summary = run_show(image=image, result=result, out=out, line=line, threshold=threshold, places=places)
    typer.echo(summary)


def archive(
    folder: Annotated[Path, Argument(help="Folder with videos, including subfolders.")],
    *,
    out: Annotated[Path, Option(help="Folder for the results. An existing archive is resumed.")],
    model: Annotated[
        str | None, Option(help="Model bundle (a folder), the name of a bundled model, or a bare .tflite.")
    ] = None,
    labels: Annotated[Path | None, Option(help="Labels of a bare .tflite, one per line.")] = None,
    threshold: Annotated[float | None, Option(help="Minimum confidence of a detection. Default: the bundle's.")] = None,
    tiles: Annotated[
        str | None, Option(metavar="none|auto|CxR", help="As for the agent. Default: the bundle's.")
    ] = None,
    rate: Annotated[
        float | None, Option(help="Frames to process per second of the video. Default: all frames.")
    ] = None,
    interval: Annotated[float, Option(help="Seconds of the video per row of the results.")] = 60,
    places: Annotated[
        Path | None, Option(help="places.toml: also count passages in and out at its lines and zones.")
    ] = None,
    result_format: Annotated[
        ResultFormat, Option("--format", help="Format of the results. parquet needs the extra archive.")
    ] = ResultFormat.CSV,
    workers: Annotated[
        int | None, Option(help="Number of videos processed in parallel, each on one core. Default: one per core.")
    ] = None,
) -> None:
    """Count the detections in the videos of a folder: a small file of results per video, one row per minute and label.

    You can stop it at any time: the same command resumes it. Videos that cannot be read completely are listed at the
    end, and the exit code is 1. See docs/archives.md.
    """
    from beeagent.tracking import load_places

    from beeagent_models.archive import ArchiveOptions
    from beeagent_models.archive.command import run_archive

    options = ArchiveOptions(
        model=model,
        labels=None if labels is None else str(labels),
        threshold=threshold,
        tiles=tiles,
        rate=rate,
        interval_s=interval,
        places=None if places is None else load_places(places),
    )
    complete = run_archive(
        folder=folder,
        out=out,
        options=options,
        result_format=result_format,
        workers=workers,
        write=typer.echo,
        write_summary=lambda text: typer.echo(text, err=True),
    )
    if not complete:
        raise typer.Exit(_EXIT_PROBLEMS)
