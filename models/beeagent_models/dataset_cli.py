"""The commands `dataset …`: parse, build, run. No logic of its own.

The device's command line loads this module to list the commands, so it imports nothing heavy before one runs.
"""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from beeagent.errors import InputError

from beeagent_models.extras import extra

dataset = typer.Typer(no_args_is_help=True, help="Make data sets.")


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
        from beeagent_models.datasets.synthesize import synthesize as run  # noqa: PLC0415 - the command line starts light
        from beeagent_models.progress import counted  # noqa: PLC0415 - the command line starts light
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


# Typer makes a lone command the whole program; with a callback it stays a command among others to come.
@dataset.callback()
def _dataset() -> None:
    pass


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InputError(f"size is '{text}': write WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)
