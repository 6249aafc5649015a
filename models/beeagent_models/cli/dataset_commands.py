"""The commands `dataset …` and `collect …`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""
# ruff: noqa: PLC0415 - each command imports what it runs, so that the command line starts light
# ruff: noqa: PLR0913 - an argument is an option of the command

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from beeagent.errors import InputError

from beeagent_models.datasets.formats import Form, Pictures
from beeagent_models.optional_dependencies import extra

dataset = typer.Typer(no_args_is_help=True, help="Fetch, check, change, divide, look at and make data sets.")

_EXIT_DEFECTS = 1

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA[=LABELS]",
        help="A Ground Truth manifest, a COCO file, or a YOLO folder; one without data.yaml names its classes, as in "
        "PATH=bee,wasp.",
    ),
]
Manifest = Annotated[Path, typer.Argument(help="A Ground Truth manifest.")]
Attribute = Annotated[
    str | None, typer.Option(metavar="NAME", help="The label attribute, of a manifest that has several.")
]


@dataset.command()
def download(
    url: Annotated[str | None, typer.Argument(help="A zip. Default: the reference article's 500 photographs.")] = None,
    *,
    out: Annotated[Path, typer.Option(help="New folder for what is in it.")],
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="Refuse a zip with another SHA-256.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Refuse a zip of another size in bytes.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the zip.")] = False,
    tries: Annotated[int, typer.Option(min=1, help="How often to try without anything arriving.")] = 5,
) -> None:
    """Fetch a zipped data set, check and unpack it. Stop it at any time: the same command goes on."""
    with extra("evaluate"):
        from beeagent_models.datasets.download import ARTICLE_URL, fetch_dataset
        from beeagent_models.progress import measured
    with measured("fetching") as progress:
        manifests = fetch_dataset(
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
    labels: Annotated[str | None, typer.Option(metavar="A,B", help="The classes that may occur.")] = None,
    attribute: Attribute = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Look at the pictures, too.")] = True,
) -> None:
    """Name every defect with its file and line; exit code 1 if there is any."""
    with extra("evaluate"):
        from beeagent_models.datasets.reading import check_dataset
    count = 0
    for defect in check_dataset(data, labels=labels, attribute=attribute, pictures=pictures):
        count += 1
        typer.echo(defect)
    typer.echo(f"{data}: {count} defects" if count != 1 else f"{data}: 1 defect", err=True)
    if count:
        raise typer.Exit(_EXIT_DEFECTS)


@dataset.command()
def rewrite(
    manifest: Manifest,
    *,
    out: Annotated[Path, typer.Option(help="Manifest to write; may be the same.")],
    bucket: Annotated[str, typer.Option(help="The bucket that has the pictures.")],
    prefix: Annotated[str, typer.Option(help="What the pictures' keys begin with.")] = "",
    replaces: Annotated[
        str | None,
        typer.Option(
            metavar="s3://…", help="What the old addresses begin with; the rest is kept. Default: all but the name."
        ),
    ] = None,
    attribute: Attribute = None,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="New name of the label attribute.")] = None,
) -> None:
    """Point a manifest at the pictures in a bucket of your own; all label attributes stay as they are."""
    with extra("evaluate"):
        from beeagent_models.datasets.rewrite import rewrite_manifest
    count = rewrite_manifest(
        manifest, out=out, bucket=bucket, prefix=prefix, replaces=replaces, attribute=attribute, rename=rename
    )
    typer.echo(f"{out}: {count} lines")


@dataset.command()
def convert(
    data: Data,
    *,
    to: Annotated[Form, typer.Option(help="The form to write.")],
    out: Annotated[Path, typer.Option(help="New folder for the data set and images/.")],
    pictures: Annotated[
        Pictures, typer.Option(help="Copy the pictures, link to them, or write what is known of them only.")
    ] = Pictures.COPY,
    clip: Annotated[bool, typer.Option("--clip", help="Cut boxes that reach out of their picture.")] = False,
    attribute: Attribute = None,
    name_attribute: Annotated[str, typer.Option(metavar="NAME", help="Label attribute of a new manifest.")] = "bees",
) -> None:
    """Write a data set in another form: Ground Truth, COCO or YOLO, with all it says."""
    with extra("evaluate"):
        from beeagent_models.datasets.convert import convert as run
        from beeagent_models.datasets.reading import open_source, parse_source
        from beeagent_models.progress import counted
    path, labels = parse_source(data)
    source = open_source(path, labels=labels, attribute=attribute)
    with counted("converting", None) as step:
        done = run(
            source,
            out,
            form=to,
            pictures=pictures,
            clip=clip,
            attribute=name_attribute,
            created_at=datetime.now(timezone.utc),
            progress=step,
        )
    typer.echo(f"{done.path}: {done.pictures} pictures, {done.boxes} boxes")
    for what, count in done.changes.items():
        typer.echo(f"{what}: {count}", err=True)


@dataset.command()
def show(
    data: Data,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for each picture with its boxes and labels.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet to write, .png or .jpg.")] = None,
    most: Annotated[int, typer.Option(min=0, help="How many pictures, evenly spread; 0 for all.")] = 48,
    columns: Annotated[int, typer.Option(min=0, help="Of the sheet. Default: about as wide as high.")] = 0,
    side: Annotated[int, typer.Option(min=32, max=2048, help="Pixels a side of the sheet's pictures.")] = 320,
    attribute: Attribute = None,
) -> None:
    """Draw the boxes of a data set onto its pictures, and a contact sheet of them."""
    with extra("evaluate"):
        from beeagent_models.datasets.reading import open_source, parse_source
        from beeagent_models.show import show_dataset
    path, labels = parse_source(data)
    source = open_source(path, labels=labels, attribute=attribute)
    typer.echo(show_dataset(source, folder=out, sheet=sheet, most=most, columns=columns, side=side))


@dataset.command()
def split(
    manifest: Manifest,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for train.manifest and test.manifest. Default: the manifest's, by its pictures."),
    ] = None,
    test: Annotated[float, typer.Option(metavar="RATIO", help="Share of the pictures for the test.")] = 0.2,
    at_random: Annotated[
        bool, typer.Option("--at-random", help="Picture by picture, even if pictures of a series look alike.")
    ] = False,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="What in a picture's name names its series. Default: the name up to its last number."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws which go to the test.")] = 0,
) -> None:
    """Divide a manifest into one for training and one for the test; pictures of one series stay together."""
    with extra("evaluate"):
        from beeagent_models.datasets.split import split_manifest
    parts = split_manifest(
        manifest, out=out or manifest.parent, fraction=test, seed=seed, by_series=not at_random, pattern=series
    )
    for part in parts:
        typer.echo(f"{part.manifest}: {part.pictures} pictures" + ("" if at_random else f" of {part.series} series"))


@dataset.command()
def synthesize(
    *,
    out: Annotated[Path, typer.Option(help="New folder for output.manifest and images/.")],
    frames: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 100,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height of each in pixels.")] = "1280x720",
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same pictures.")] = 0,
) -> None:
    """Draw hive entrances with bees, and a Ground Truth manifest with the exact boxes."""
    with extra("evaluate"):
        from beeagent_models.datasets.synthesize import synthesize as run
        from beeagent_models.progress import counted
    width, height = _size(size)
    with counted("drawing", frames) as step:
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


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InputError(f"size is '{text}': write WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)


collect = typer.Typer(no_args_is_help=True, help="Look at the frames that beeagent --collect kept.")


@collect.callback()
def _commands() -> None:
    """Keep `review` a word of its own: typer would leave out the name of a single command."""


@collect.command()
def review(
    folder: Annotated[Path, typer.Argument(help="The folder of beeagent --collect.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for each frame with what either model saw drawn.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet to write, .png or .jpg.")] = None,
    most: Annotated[int, typer.Option(min=1, max=400, help="How many frames to draw.")] = 48,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="What the edge model saw with less confidence counts as not seen. Default: as on the device.",
        ),
    ] = None,
) -> None:
    """Tell where edge and cloud model disagree, and draw those frames, the greatest disagreement first.

    Green is what both saw, orange what the cloud model alone saw, red what the edge model alone saw.
    """
    with extra("evaluate"):
        from beeagent_models.collected import read_collected
        from beeagent_models.collected import review as draw
    for line in draw(read_collected(folder, threshold=threshold), folder=out, sheet=sheet, most=most):
        typer.echo(line)
