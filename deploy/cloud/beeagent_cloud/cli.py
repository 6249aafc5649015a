"""The commands `rekognition create|import|train|metrics` and `cleanup`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from beeagent.errors import InputError, requires_extra
from beeagent.threads import on_stop_signals
from typer import Argument, Option

if TYPE_CHECKING:
    from beeagent_cloud.custom_labels.command import Steps

Name = Annotated[str, Argument(metavar="PROJECT", help="The project's name.")]
Region = Annotated[str | None, Option(help="AWS region. Default: that of the AWS configuration.")]
Yes = Annotated[bool, Option("--yes", help="Do not ask for confirmation; for scripts.")]
PollInterval = Annotated[
    float, Option("--look-every", min=0.01, max=3600, help="Seconds between two polls of a long operation.")
]
VersionName = Annotated[str | None, Option(metavar="NAME", help="Name of the model. Default: the newest.")]


def create(project: Name, region: Region = None) -> None:
    """Create a Custom Labels project; it costs nothing by itself."""
    with _steps(region, yes=True, poll_interval=1.0) as steps:
        steps.create(project)


def import_(
    project: Name,
    manifest: Annotated[str, Argument(metavar="s3://BUCKET/KEY", help="Manifest of the training images.")],
    *,
    test: Annotated[
        str | None,
        Option(metavar="s3://BUCKET/KEY", help="Manifest of the test images. Default: a fifth of the training images."),
    ] = None,
    replace: Annotated[bool, Option("--replace", help="Replace the existing datasets.")] = False,
    yes: Yes = False,
    poll_interval: PollInterval = 5.0,
    region: Region = None,
) -> None:
    """Import the images of Ground Truth manifests in S3 into a project."""
    with _steps(region, yes=yes, poll_interval=poll_interval) as steps:
        steps.import_(project, manifest, test=test, replace=replace)


def train(
    project: Name,
    *,
    output: Annotated[str, Option(metavar="s3://BUCKET/PREFIX", help="Destination of the training results.")],
    version: Annotated[
        str | None, Option(metavar="NAME", help="Name of the model. Default: the one in training, or a new one.")
    ] = None,
    yes: Yes = False,
    poll_interval: PollInterval = 60.0,
    region: Region = None,
) -> None:
    """Train a model on a project's images and wait until it is trained. Ctrl-C stops the waiting, not the training."""
    with _steps(region, yes=yes, poll_interval=poll_interval) as steps:
        steps.train(project, version=version, output=output)


def metrics(project: Name, *, version: VersionName = None, region: Region = None) -> None:
    """Show precision, recall, F1 and threshold of each label as Rekognition measured them."""
    with _steps(region, yes=True, poll_interval=1.0) as steps:
        steps.metrics(project, version=version)


@contextmanager
def _steps(region: str | None, *, yes: bool, poll_interval: float) -> "Iterator[Steps]":
    with requires_extra("rekognition"):
        import botocore  # noqa: F401 - to name the missing extra
    with requires_extra("evaluate"):
        from beeagent_cloud.custom_labels.command import Steps

    leaving = threading.Event()
    with on_stop_signals(leaving.set):
        yield Steps(
            region=region,
            report=typer.echo,
            confirm=_confirmation(yes=yes),
            poll_interval=poll_interval,
            leaving=leaving,
        )


def cleanup(
    *,
    project: Annotated[
        str | None, Option(metavar="NAME", help="Only of this project. Default: all of beeagent.")
    ] = None,
    stack: Annotated[str | None, Option(metavar="NAME", help="Only this stack.")] = None,
    region: Region = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only list what would be removed.")] = False,
    yes: Yes = False,
    poll_interval: PollInterval = 10.0,
) -> None:
    """Remove what beeagent made in an AWS account: models, projects and datasets of Rekognition, stacks and buckets.

    Resources are identified by their tag beeagent:project, in one region; nothing else is touched.
    """
    with requires_extra("rekognition"):
        from beeagent_cloud.cleanup.command import clean_up

    clean_up(
        project=project,
        stack=stack,
        region=region,
        dry_run=dry_run,
        report=typer.echo,
        confirm=_confirmation(yes=yes),
        wait=lambda: time.sleep(poll_interval),
    )


def _confirmation(*, yes: bool) -> Callable[[str], bool]:
    """Return a function that asks for confirmation; with `yes`, it confirms every question without asking."""

    def confirm(question: str) -> bool:
        if yes:
            typer.echo(f"{question} yes")
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Standard input is no terminal: give --yes")
        return typer.confirm(question)

    return confirm
