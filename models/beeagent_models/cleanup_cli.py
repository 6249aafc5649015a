"""`beeagent cleanup`: parse, build, run. No logic of its own.

The device's command line loads this module to list the commands, so it imports nothing heavy before one runs.
"""

import time
from typing import Annotated

import typer

from beeagent_models.consent import consent
from beeagent_models.extras import extra


def cleanup(  # noqa: PLR0913 - an argument is an option of the command
    *,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what belongs to this project. Default: all of beeagent's.")
    ] = None,
    stack: Annotated[str | None, typer.Option(metavar="NAME", help="Only this stack.")] = None,
    region: Annotated[str | None, typer.Option(help="Of AWS. Default: as the AWS configuration says.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    look_every: Annotated[
        float, typer.Option(min=0.01, max=3600, help="Seconds between two looks at what takes long.")
    ] = 10.0,
) -> None:
    """Remove what beeagent made in an AWS account: models, projects and data sets of Rekognition, stacks and buckets.

    Things are known by their tag beeagent:project, in one region; nothing else is touched.
    """
    with extra("rekognition"):
        from beeagent_models.cleanup.command import clean_up  # noqa: PLC0415 - light until it runs

    clean_up(
        project=project,
        stack=stack,
        region=region,
        dry_run=dry_run,
        say=typer.echo,
        agreed=consent(yes=yes),
        wait=lambda: time.sleep(look_every),
    )
