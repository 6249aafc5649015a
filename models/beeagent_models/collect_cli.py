"""The commands `collect …`: parse, build, run. No logic of its own.

The device's command line loads this module to list the commands, so it imports nothing heavy before one runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from beeagent_models.extras import extra

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
        from beeagent_models.collect_review import review as draw  # noqa: PLC0415 - the command line starts light
        from beeagent_models.collected import read_collected  # noqa: PLC0415 - the command line starts light
    for line in draw(read_collected(folder, threshold=threshold), folder=out, sheet=sheet, most=most):
        typer.echo(line)
