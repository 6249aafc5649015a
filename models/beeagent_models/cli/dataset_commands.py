"""The commands `dataset …` and `collect …`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from beeagent.errors import InputError, requires_extra
from typer import Argument, Option

from beeagent_models.cli.options import Attribute, Data, Manifest, Series, Sheet
from beeagent_models.dataset_formats import DatasetFormat, ImageHandling

dataset = typer.Typer(no_args_is_help=True, help="Download, check, convert, split, show and synthesize datasets.")
collect = typer.Typer(no_args_is_help=True, help="Review the frames that beeagent --collect kept.")

_EXIT_DEFECTS = 1


@dataset.command()
def download(
    url: Annotated[str | None, Argument(help="URL of a zip file. Default: the reference article's 500 images.")] = None,
    *,
    out: Annotated[Path, Option(help="New folder to unpack to.")],
    sha256: Annotated[str | None, Option(metavar="HEX", help="Expected SHA-256 of the zip file.")] = None,
    size: Annotated[int | None, Option(min=1, help="Expected size of the zip file in bytes.")] = None,
    keep: Annotated[bool, Option("--keep", help="Keep the zip file.")] = False,
    tries: Annotated[int, Option(min=1, help="Maximum number of consecutive attempts without new data.")] = 5,
) -> None:
    """Download, verify and unpack a zipped dataset. You can stop it at any time: the same command resumes it."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets.download import ARTICLE_URL, download_dataset
        from beeagent_models.progress import byte_progress
    with byte_progress("downloading") as progress:
        manifests = download_dataset(
            url or ARTICLE_URL,
            out,
            sha256=sha256,
            size=size,
            keep=keep,
            tries=tries,
            wait=time.sleep,
            progress=progress,
        )
    for manifest in manifests or [out]:
        typer.echo(manifest)


@dataset.command()
def check(
    data: Data,
    *,
    labels: Annotated[str | None, Option(metavar="A,B", help="Allowed classes.")] = None,
    attribute: Attribute = None,
    images: Annotated[bool, Option("--pictures/--no-pictures", help="Also find and decode the images.")] = True,
) -> None:
    """Report all defects with file and line; the exit code is 1 if there is one."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets import check_dataset
    count = 0
    for defect in check_dataset(data, labels=labels, attribute=attribute, images=images):
        count += 1
        typer.echo(defect)
    typer.echo(f"{data}: {count} defects" if count != 1 else f"{data}: 1 defect", err=True)
    if count:
        raise typer.Exit(_EXIT_DEFECTS)


@dataset.command()
def rewrite(
    manifest: Manifest,
    *,
    out: Annotated[Path, Option(help="Manifest to write; may be the same file.")],
    bucket: Annotated[str, Option(help="Bucket with the images.")],
    prefix: Annotated[str, Option(help="Prefix of the images' keys.")] = "",
    replaces: Annotated[
        str | None,
        Option(
            metavar="s3://…",
            help="Prefix of the old references to replace; the rest is kept. Default: all but the name.",
        ),
    ] = None,
    attribute: Attribute = None,
    rename: Annotated[str | None, Option(metavar="NAME", help="New name of the label attribute.")] = None,
) -> None:
    """Rewrite the image references of a manifest for your own bucket; label attributes are kept."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets.rewrite import rewrite_manifest
    count = rewrite_manifest(
        manifest, out=out, bucket=bucket, prefix=prefix, replaces=replaces, attribute=attribute, rename=rename
    )
    typer.echo(f"{out}: {count} lines")


@dataset.command()
def convert(
    data: Data,
    *,
    to: Annotated[DatasetFormat, Option(help="Format to write.")],
    out: Annotated[Path, Option(help="New folder for the dataset and images/.")],
    images: Annotated[
        ImageHandling, Option("--pictures", help="Copy the images, link to them, or write the labels only.")
    ] = ImageHandling.COPY,
    clip: Annotated[bool, Option("--clip", help="Clip boxes that extend beyond their image.")] = False,
    attribute: Attribute = None,
    name_attribute: Annotated[str, Option(metavar="NAME", help="Label attribute of a new manifest.")] = "bees",
) -> None:
    """Convert a dataset to Ground Truth, COCO or YOLO without loss."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets import open_dataset, parse_source
        from beeagent_models.datasets.convert import convert as run
        from beeagent_models.progress import step_progress
    path, labels = parse_source(data)
    reader = open_dataset(path, labels=labels, attribute=attribute)
    with step_progress("converting", None) as step:
        done = run(
            reader,
            out,
            to=to,
            images=images,
            clip=clip,
            attribute=name_attribute,
            created_at=datetime.now(timezone.utc),
            progress=step,
        )
    typer.echo(f"{done.path}: {done.images} images, {done.boxes} boxes")
    for what, count in done.changes.items():
        typer.echo(f"{what}: {count}", err=True)


@dataset.command()
def show(
    data: Data,
    *,
    out: Annotated[Path | None, Option(help="Folder for the images with boxes and labels drawn.")] = None,
    sheet: Sheet = None,
    limit: Annotated[int, Option("--most", min=0, help="Maximum number of images, evenly spread; 0 for all.")] = 48,
    columns: Annotated[int, Option(min=0, help="Columns of the sheet. Default: about as wide as high.")] = 0,
    side: Annotated[int, Option(min=32, max=2048, help="Side of the sheet's images in pixels.")] = 320,
    attribute: Attribute = None,
) -> None:
    """Draw the boxes of a dataset on its images, or a contact sheet."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets import open_dataset, parse_source
        from beeagent_models.show import show_dataset
    path, labels = parse_source(data)
    reader = open_dataset(path, labels=labels, attribute=attribute)
    typer.echo(show_dataset(reader, folder=out, sheet=sheet, limit=limit, columns=columns, side=side))


@dataset.command()
def split(
    manifest: Manifest,
    *,
    out: Annotated[
        Path | None,
        Option(help="Folder for train.manifest and test.manifest. Default: that of the manifest."),
    ] = None,
    test: Annotated[float, Option(metavar="RATIO", help="Share of the test images.")] = 0.2,
    at_random: Annotated[bool, Option("--at-random", help="Split by images, not by series.")] = False,
    series: Series = None,
    seed: Annotated[int, Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Split a manifest into a training and a test manifest; images of one series stay together."""
    with requires_extra("evaluate"):
        from beeagent_models.datasets.split import split_manifest
    parts = split_manifest(
        manifest, out=out or manifest.parent, fraction=test, seed=seed, by_series=not at_random, pattern=series
    )
    for part in parts:
        typer.echo(f"{part.manifest}: {part.images} images" + ("" if at_random else f" of {part.series} series"))


@dataset.command()
def synthesize(
    *,
    out: Annotated[Path | None, typer.Option(help="New folder for output.manifest and images/.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Number of images. Default: 100.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height in pixels.")] = "1280x720",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4",
            help="Video of busy traffic instead of images, with its ground truth: FILE.tracks.jsonl, "
            "FILE.crossings.jsonl, FILE/gt/gt.txt in MOT challenge format, and FILE.places.toml with the line.",
        ),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of the video. Default: 20.")] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second of the video. Default: 30.")] = None,
    bees: Annotated[
        int | None, typer.Option(help="Maximum number of bees at a time in the video. Default: 12.")
    ] = None,
    line: Annotated[
        str | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2",
            help="Counting line in ratios of the frame; in is from its left-hand side to its right-hand side. "
            "Default: in front of the entrance, where in is into the hive.",
        ),
    ] = None,
) -> None:
    """Draw synthetic hive entrances with bees, and write a Ground Truth manifest with exact boxes.

    With --video: draw a video of a busy entrance and write its exact tracks and crossings, to evaluate counting.
    """
    if video is not None and out is None:
        if frames is not None:
            raise InputError("--frames is for images: give --seconds and --rate with --video")
        _synthesize_video(video, seconds=seconds, rate=rate, size=size, seed=seed, bees=bees, line=line)
        return
    if out is None or video is not None:
        raise InputError("give either --out FOLDER for images or --video FILE.mp4 for a video")
    for option, value in (("--seconds", seconds), ("--rate", rate), ("--bees", bees), ("--line", line)):
        if value is not None:
            raise InputError(f"{option} is for a video: give it with --video")
    frames = 100 if frames is None else frames
    with requires_extra("evaluate"):
        from beeagent_models.datasets.synthesize import synthesize as run
        from beeagent_models.progress import step_progress
    width, height = _size(size)
    with step_progress("drawing", frames) as step:
        manifest = run(
            out,
            frames=frames,
            width=width,
            height=height,
            seed=seed,
            created_at=datetime.now(timezone.utc),
            progress=step,
        )
    typer.echo(manifest)


def _synthesize_video(
    path: Path,
    *,
    seconds: float | None,
    rate: float | None,
    size: str,
    seed: int,
    bees: int | None,
    line: str | None,
) -> None:
    with requires_extra("evaluate"):
        from beeagent_models.datasets.synthesize_video import VideoOptions, synthesize_video
        from beeagent_models.progress import step_progress
        from beeagent_models.tracks import parse_line
    width, height = _size(size)
    default = VideoOptions()
    options = VideoOptions(
        seconds=default.seconds if seconds is None else seconds,
        rate=default.rate if rate is None else rate,
        width=width,
        height=height,
        seed=seed,
        bees=default.bees if bees is None else bees,
        line=None if line is None else parse_line(line),
    )
    with step_progress("drawing", options.frames) as step:
        result = synthesize_video(path, options, progress=step)
    counts = Counter((one.line, one.direction.value) for one in result.crossings.crossings)
    typer.echo(f"{result.video}: {options.frames} frames")
    typer.echo(f"{result.tracks_file}: {len(set(result.tracks.track.tolist()))} tracks")
    by_place = (f"{name} {counts[name, 'in']} in, {counts[name, 'out']} out" for name in result.crossings.places)
    typer.echo(f"{result.crossings_file}: {'; '.join(by_place)}")
    typer.echo(result.places_file)
    typer.echo(result.mot_file)


@collect.callback()
def _commands() -> None:
    """Keep `review` a subcommand: typer omits the name of a single command."""


@collect.command()
def review(
    folder: Annotated[Path, Argument(help="Folder of beeagent --collect.")],
    *,
    out: Annotated[Path | None, Option(help="Folder for the frames with the boxes of both models drawn.")] = None,
    sheet: Sheet = None,
    limit: Annotated[int, Option("--most", min=1, max=400, help="Maximum number of frames to draw.")] = 48,
    threshold: Annotated[
        float | None,
        Option(min=0, max=1, help="Minimum confidence of the edge model's boxes. Default: as on the device."),
    ] = None,
) -> None:
    """Report disagreements of edge and cloud model, and draw the frames with the most.

    Green: detected by both; orange: by the cloud model alone; red: by the edge model alone.
    """
    with requires_extra("evaluate"):
        from beeagent_models.collected import read_collected
        from beeagent_models.collected import review as run
    for line in run(read_collected(folder, threshold=threshold), folder=out, sheet=sheet, limit=limit):
        typer.echo(line)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InputError(f"size is '{text}': give WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)
