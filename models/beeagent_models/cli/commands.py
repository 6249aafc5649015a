"""The commands `train`, `evaluate`, `compare` and `show`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from beeagent.errors import InputError

from beeagent_models.cli.dataset_commands import collect, dataset
from beeagent_models.optional_dependencies import extra

__all__ = ["collect", "compare", "dataset", "evaluate", "show", "train"]

_DATA_HELP = (
    "A Ground Truth manifest, a COCO file, or a YOLO folder; one without data.yaml names its classes, as in "
    "PATH=bee,wasp."
)

Attribute = Annotated[
    str | None, typer.Option(metavar="NAME", help="The label attribute, of manifests that have several.")
]


def train(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=LABELS][@WEIGHT]",
            help=f"{_DATA_HELP} @2 doubles its share of the photographs. Or a .toml mixture file. Repeatable.",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH[=LABELS]", help="Dataset to measure AP50 and AP75 on as the run goes. Repeatable."),
    ] = None,
    attribute: Attribute = None,
    out: Annotated[Path, typer.Option(help="Folder of the run. A run found there is resumed.")],
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Classes of the detector. Default: those of the data, or bee.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="lite0|…|lite4", help="Architecture. Default: lite0.")] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of the detector. Default: the architecture's square.")
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Of the training images; smaller is faster. Default: the input size."),
    ] = None,
    anchor_scale: Annotated[float | None, typer.Option(help="Side of the finest anchors in strides.")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights of the backbone, .npz, to start from.")
    ] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Checkpoint of the same architecture to start from.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step. Default: 8.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: 62,500, half a million images.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="In place of --steps: as many as this machine does in this time.")
    ] = None,
    synthetic: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Share of the images that are synthetic scenes, 0 to 1.")
    ] = None,
    pasted: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Share that are cut-outs on another background, 0 to 1.")
    ] = None,
    augmentation: Annotated[
        str | None, typer.Option(metavar="full|none", help="none: whole images, unchanged, to see if a run can learn.")
    ] = None,
    scenes: Annotated[int | None, typer.Option(help="Number of synthetic scenes to draw.")] = None,
    backgrounds: Annotated[int | None, typer.Option(help="Number of empty backgrounds to draw, for cut-outs.")] = None,
    peak_learning_rate: Annotated[float | None, typer.Option(help="Of the matrices of pyramid and heads.")] = None,
    backbone_factor: Annotated[float | None, typer.Option(help="On the learning rate of the backbone.")] = None,
    frozen_stages: Annotated[int | None, typer.Option(help="First stages of the backbone left as they are.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between measurements; 0: none.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between saves of the state. Default: 200.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="auto|float32|bfloat16", help="Of the layers. auto: bfloat16 on a GPU.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides weights, images and their order.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes that make batches.")] = None,
) -> None:
    """Train a detector from labelled photographs and synthetic scenes.

    Writes checkpoint.npz, which beeagent export turns into a bundle, and training.json, the record of the run.
    Stop it at any time: the same command resumes it. KERAS_BACKEND=jax trains on a GPU without TensorFlow.
    """
    given: dict[str, Any] = {
        "model": model,
        "anchor_scale": anchor_scale,
        "backbone_weights": backbone_weights,
        "warm_start": warm_start,
        "batch_size": batch_size,
        "steps": steps,
        "minutes": minutes,
        "synthetic": synthetic,
        "pasted": pasted,
        "augmentation": augmentation,
        "scenes": scenes,
        "backgrounds": backgrounds,
        "peak_learning_rate": peak_learning_rate,
        "backbone_factor": backbone_factor,
        "frozen_stages": frozen_stages,
        "validate_every": validate_every,
        "save_every": save_every,
        "precision": precision,
        "workers": workers,
    }
    with extra("train"):
        from beeagent_models.training.command import run_training  # noqa: PLC0415 - the command line starts light
    run_training(
        data=data or [],
        validation=validate or [],
        attribute=attribute,
        labels=labels,
        sizes={"input_size": input_size, "image_size": image_size},
        out=out,
        seed=seed,
        command=" ".join(["beeagent", *sys.argv[1:]]),
        given={key: value for key, value in given.items() if value is not None},
    )


def evaluate(  # noqa: PLR0913 - an argument is an option of the command
    model: Annotated[
        Path, typer.Argument(help="Model bundle (a folder), the name of a bundled model, or a bare .tflite.")
    ],
    data: Annotated[list[str], typer.Argument(metavar="DATA[=LABELS]...", help=_DATA_HELP)],
    *,
    labels: Annotated[Path | None, typer.Option(help="Labels of a bare .tflite, one a line.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Confidence from which a detection counts, 0 to 1. Default: the bundle's.")
    ] = None,
    best_f1: Annotated[
        bool, typer.Option("--best-f1", help="Choose the threshold with the best F1 on the first dataset.")
    ] = False,
    precision_floor: Annotated[
        float | None,
        typer.Option(help="Choose the threshold with the best recall at this precision or more on each dataset."),
    ] = None,
    certainty: Annotated[
        float | None,
        typer.Option(
            help="Confidence level at which --precision-floor is kept, such as 0.95: by the lower end of Wilson's "
            "interval, for a measured precision may be luck."
        ),
    ] = None,
    max_false_alarms: Annotated[
        float | None,
        typer.Option(help="Choose the threshold with the best recall at so many detections per image without a box."),
    ] = None,
    recall_floor: Annotated[
        float | None,
        typer.Option(help="Choose the threshold with the best precision at this recall or more on the first dataset."),
    ] = None,
    min_size: Annotated[
        float,
        typer.Option(
            metavar="PIXELS",
            help="Leave out objects of a smaller size, the square root of the area at the model's input: they are "
            "neither found nor missed.",
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures and the curves as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the precision-recall curves: .png, .svg or .pdf.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for each image with hits, misses and false alarms drawn.")
    ] = None,
    false_alarms: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for a contact sheet and a list of the strongest detections in images without any box.",
        ),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT", help="Write threshold and figures into the bundle's manifest, as those of this split."
        ),
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(metavar="none|auto|CxR", help="As for the agent. Default: as the bundle recommends.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of an inference.")] = 2,
    attribute: Attribute = None,
) -> None:
    """Measure a model on labelled images: AP, precision and recall at IoU 0.5, errors by kind and size, time per image.

    Each dataset is reported by itself, all at one threshold. A dataset without any box, of images without an object, is
    measured by its false alarms. Choose a threshold on images that neither trained the model nor judge it later.
    """
    with extra("evaluate"):
        from beeagent_models.evaluation.command import (  # noqa: PLC0415 - the command line starts light
            EvaluationOptions,
            run_evaluation,
        )
        from beeagent_models.evaluation.operating_point import ThresholdChoice  # noqa: PLC0415 - the command line starts light
    chosen = best_f1 or not (threshold is None and precision_floor is None and recall_floor is None)
    choice = ThresholdChoice(
        fixed=threshold, precision_floor=precision_floor, recall_floor=recall_floor, certainty=certainty
    )
    if best_f1 and choice != ThresholdChoice():
        raise InputError("--best-f1 chooses the threshold by itself: leave out --threshold and the floors")
    options = EvaluationOptions(
        labels=labels,
        choice=choice if chosen else None,
        max_false_alarms=max_false_alarms,
        min_size=min_size,
        tiles=tiles,
        threads=threads,
        plot=plot,
        pictures=pictures,
        false_alarms=false_alarms,
        record=record,
        attribute=attribute,
    )
    run_evaluation(model=model, data=data, options=options, as_json=as_json)


def compare(  # noqa: PLR0913 - an argument is an option of the command
    data: Annotated[str, typer.Argument(metavar="DATA[=LABELS]", help=_DATA_HELP)],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Two to six: a bundle, a bundled model's name or a bare .tflite, with ,tiles=CxR or ,labels=FILE "
            "behind it if need be; a folder of results, PICTURE.json or PICTURE.jpg.json (Rekognition's answers, "
            "messages of the agent); the ARN of a Custom Labels model that runs.",
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Page to write, .html: figures, curves, pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures and curves as JSON.")] = False,
    pictures: Annotated[int, typer.Option(help="Pictures on the page, those on which they differ most; 0 to 24.")] = 6,
    precision_floor: Annotated[
        float, typer.Option(help="Pictures are shown at the best F1, and with this precision or more.")
    ] = 0.9,
    thresholds: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Show pictures at these two instead.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a cloud model's answers, in one of its name: compare with that next time, at no cost."
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="A picture without a result counts as one without a detection.")
    ] = False,
    hourly_price: Annotated[
        float,
        typer.Option(help="US dollars for an hour of the running cloud model: aws.amazon.com/rekognition/pricing"),
    ] = 4.0,
    images_per_hour: Annotated[
        float | None,
        typer.Option(help="Pictures an hour that the cloud model is asked about. Default: as fast as it answered."),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of an inference.")] = 2,
    attribute: Attribute = None,
) -> None:
    """Compare models of the device, models in the cloud and results of either on the same labelled pictures.

    Precision, recall, F1 and AP at IoU 0.5, the best threshold of each, how far they agree, time, bytes sent and price.
    A cloud model is asked once for each picture; it is not started or stopped.
    """
    with extra("evaluate"):
        from beeagent_models.comparison.command import run_comparison  # noqa: PLC0415 - the command line starts light
        from beeagent_models.comparison.comparison import Price, Showing  # noqa: PLC0415 - as above
    run_comparison(
        data=data,
        models=models,
        prices=Price(hourly_price, images_per_hour),
        showing=Showing(precision_floor, thresholds),
        allow_missing=allow_missing,
        keep=keep,
        threads=threads,
        as_json=as_json,
        page=out,
        pictures=pictures,
        attribute=attribute,
    )


def show(
    image: Annotated[Path, typer.Argument(help="The image, or the video, that the result is about.")],
    result: Annotated[
        Path,
        typer.Argument(
            help="A message of the agent, or a file with one in each line; or Rekognition's answer, as JSON."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Picture to write, .png or .jpg.")],
    line: Annotated[
        int | None,
        typer.Option(
            min=1, help="Which line of the result. Default: the first that names the image as its source, or 1."
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Draw nothing of a lower confidence, 0 to 1.")] = 0.0,
) -> None:
    """Draw the boxes, labels and confidences of a result onto its picture."""
    with extra("evaluate"):
        from beeagent_models.show import run_show  # noqa: PLC0415 - the command line starts light
    typer.echo(run_show(image=image, result=result, out=out, line=line, threshold=threshold))
