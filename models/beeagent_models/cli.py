"""The commands `train`, `evaluate` and `show`, with `dataset` from beside: parse, build, run. No logic of its own.

The device's command line loads this module to list the commands, so it imports nothing heavy before one runs.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from beeagent.errors import InputError

from beeagent_models.collect_cli import collect
from beeagent_models.dataset_cli import dataset
from beeagent_models.extras import extra

__all__ = ["collect", "dataset", "evaluate", "show", "train"]

_DATA_HELP = (
    "A Ground Truth manifest, a COCO file, or a YOLO folder; one without data.yaml names its classes, as in "
    "PATH=bee,wasp."
)


def train(  # noqa: PLR0913 - an argument is an option of the command
    *,
    data: Annotated[list[str] | None, typer.Option(metavar="PATH[=LABELS]", help=f"{_DATA_HELP} Repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run. A run found there is resumed.")],
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Classes of the detector. Default: those of the data, or bee.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="lite0|…|lite4", help="Architecture. Default: lite0.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Pixels a side. Default: the architecture's.")] = None,
    anchor_scale: Annotated[float | None, typer.Option(help="Side of the finest anchors in strides.")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights of the backbone, .npz, to start from.")
    ] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Checkpoint of the same architecture to start from.")] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option(metavar="SIZE:BATCH:STEPS", help="A stretch of the run at one picture size. Repeatable."),
    ] = None,
    synthetic: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Share of the pictures that are synthetic scenes, 0 to 1.")
    ] = None,
    scenes: Annotated[int | None, typer.Option(help="Number of synthetic scenes to draw.")] = None,
    grounds: Annotated[int | None, typer.Option(help="Number of empty grounds to draw, for cut-outs.")] = None,
    ignored_border: Annotated[
        str | None,
        typer.Option(metavar="L,T,R,B", help="Ratios of the photographs at whose edge bees may be unlabelled."),
    ] = None,
    blue_ground: Annotated[
        bool | None,
        typer.Option(
            "--blue-ground",
            help="Where photographs show objects on a blue ground, draw loose boxes in to them, and ignore those that "
            "have no box.",
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest, of pyramid and heads.")] = None,
    backbone_factor: Annotated[float | None, typer.Option(help="On the learning rate of the backbone.")] = None,
    frozen_stages: Annotated[int | None, typer.Option(help="First stages of the backbone left as they are.")] = None,
    held_back: Annotated[
        int | None, typer.Option(help="Every n-th photograph only watches the loss; 0 trains on all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides weights, pictures and their order.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes that make batches.")] = None,
) -> None:
    """Train a detector from labelled pictures and synthetic scenes.

    Leaves checkpoint.npz, which beeagent export turns into a bundle, and training.json, the record of the run.
    Stop it at any time: the same command goes on.
    """
    given: dict[str, Any] = {
        "model": model,
        "input_size": input_size,
        "anchor_scale": anchor_scale,
        "backbone_weights": backbone_weights,
        "warm_start": warm_start,
        "synthetic_fraction": synthetic,
        "scenes": scenes,
        "grounds": grounds,
        "blue_ground": blue_ground,
        "learning_rate": learning_rate,
        "backbone_factor": backbone_factor,
        "frozen_stages": frozen_stages,
        "held_back": held_back,
        "workers": workers,
    }
    with extra("train"):
        from beeagent_models.training_command import run_training  # noqa: PLC0415 - the command line starts light
    run_training(
        data=data or [],
        labels=labels,
        phases=phase or [],
        ignored_border=ignored_border,
        out=out,
        seed=seed,
        command=" ".join(["beeagent", *sys.argv[1:]]),
        given={key: value for key, value in given.items() if value is not None},
    )


def evaluate(  # noqa: PLR0913 - an argument is an option of the command
    model: Annotated[Path, typer.Argument(help="Model bundle (a folder), or a bare .tflite.")],
    data: Annotated[list[str], typer.Argument(metavar="DATA[=LABELS]...", help=_DATA_HELP)],
    *,
    labels: Annotated[Path | None, typer.Option(help="Labels of a bare .tflite, one a line.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Confidence from which a detection counts, 0 to 1. Default: the bundle's.")
    ] = None,
    best_f1: Annotated[bool, typer.Option("--best-f1", help="Choose the threshold with the best F1.")] = False,
    precision_floor: Annotated[
        float | None, typer.Option(help="Choose the threshold with the best recall at this precision or more.")
    ] = None,
    recall_floor: Annotated[
        float | None, typer.Option(help="Choose the threshold with the best precision at this recall or more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures and the curve as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the precision-recall curve: .png, .svg or .pdf.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for each picture with hits, misses and false alarms drawn.")
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
) -> None:
    """Measure a model on labelled pictures: AP, AP50, precision and recall at IoU 0.5, time a picture.

    Several data sets are measured as one.
    """
    with extra("evaluate"):
        from beeagent_models.evaluation_command import run_evaluation  # noqa: PLC0415 - the command line starts light
        from beeagent_models.operating_point import ThresholdChoice  # noqa: PLC0415 - the command line starts light
    chosen = best_f1 or not (threshold is None and precision_floor is None and recall_floor is None)
    choice = ThresholdChoice(fixed=threshold, precision_floor=precision_floor, recall_floor=recall_floor)
    if best_f1 and choice != ThresholdChoice():
        raise InputError("--best-f1 chooses the threshold by itself: leave out --threshold and the floors")
    run_evaluation(
        model=model,
        labels=labels,
        data=data,
        choice=choice if chosen else None,
        tiles=tiles,
        threads=threads,
        as_json=as_json,
        plot=plot,
        pictures=pictures,
        record=record,
    )


def show(
    image: Annotated[Path, typer.Argument(help="The picture that the result is about.")],
    result: Annotated[
        Path,
        typer.Argument(
            help="A message of the agent, or a file with one in each line; or Rekognition's answer, as JSON."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Picture to write, .png or .jpg.")],
    line: Annotated[int, typer.Option(min=1, help="Which line of the result.")] = 1,
    threshold: Annotated[float, typer.Option(help="Draw nothing of a lower confidence, 0 to 1.")] = 0.0,
) -> None:
    """Draw the boxes, labels and confidences of a result onto its picture."""
    with extra("evaluate"):
        from beeagent_models.show_command import run_show  # noqa: PLC0415 - the command line starts light
    typer.echo(run_show(image=image, result=result, out=out, line=line, threshold=threshold))
