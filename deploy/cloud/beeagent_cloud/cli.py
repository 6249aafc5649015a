"""The commands `rekognition create|import|train|metrics` and `cleanup`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from beeagent.errors import InputError
from beeagent_models.optional_dependencies import extra


def consent(*, yes: bool) -> Callable[[str], bool]:
    """Give what asks a question that wants a yes.

    Args:
        yes: whether `--yes` has answered all of them.

    Returns:
        It takes the question, and says whether the answer is yes. Where nobody can answer, it raises InputError.
    """

    def agreed(question: str) -> bool:
        if yes:
            typer.echo(f"{question} yes")
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Nobody is there to ask: give --yes")
        return typer.confirm(question)

    return agreed


if TYPE_CHECKING:
    from beeagent_cloud.custom_labels.command import Steps

Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")]
Region = Annotated[str | None, typer.Option(help="Of AWS. Default: as the AWS configuration says.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]
LookEvery = Annotated[float, typer.Option(min=0.01, max=3600, help="Seconds between two looks at what takes long.")]
VersionName = Annotated[str | None, typer.Option(metavar="NAME", help="The model. Default: the newest.")]


def create(project: Name, region: Region = None) -> None:
    """Make a Custom Labels project; it costs nothing by itself."""
    with _steps(region, yes=True, look_every=1.0) as steps:
        steps.create(project)


def import_(  # noqa: PLR0913 - an argument is an option of the command
    project: Name,
    manifest: Annotated[str, typer.Argument(metavar="s3://BUCKET/KEY", help="Manifest of the pictures to train on.")],
    *,
    test: Annotated[
        str | None,
        typer.Option(metavar="s3://BUCKET/KEY", help="Manifest of those to test with. Default: a fifth of the first."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put them in the place of those it has.")] = False,
    yes: Yes = False,
    look_every: LookEvery = 5.0,
    region: Region = None,
) -> None:
    """Give a project its pictures, from Ground Truth manifests in S3."""
    with _steps(region, yes=yes, look_every=look_every) as steps:
        steps.import_(project, manifest, test=test, replace=replace)


def train(  # noqa: PLR0913 - likewise
    project: Name,
    *,
    output: Annotated[str, typer.Option(metavar="s3://BUCKET/PREFIX", help="Where the training leaves its results.")],
    version: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model. Default: the one that is being trained, or a new one."),
    ] = None,
    yes: Yes = False,
    look_every: LookEvery = 60.0,
    region: Region = None,
) -> None:
    """Train a model on a project's pictures, and stay until it is trained. Ctrl-C leaves it training."""
    with _steps(region, yes=yes, look_every=look_every) as steps:
        steps.train(project, version=version, output=output)


def metrics(project: Name, *, version: VersionName = None, region: Region = None) -> None:
    """Show precision, recall, F1 and threshold of each label, by Rekognition's own count."""
    with _steps(region, yes=True, look_every=1.0) as steps:
        steps.metrics(project, version=version)


@contextmanager
def _steps(region: str | None, *, yes: bool, look_every: float) -> "Iterator[Steps]":
    with extra("rekognition"):
        import botocore  # noqa: F401, PLC0415 - to say what is missing
    with extra("evaluate"):
        from beeagent_cloud.custom_labels.command import Steps  # noqa: PLC0415 - light until it runs

    leaving = threading.Event()
    before = {number: signal.signal(number, lambda *_: leaving.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Steps(region=region, say=typer.echo, agreed=consent(yes=yes), look_every=look_every, leaving=leaving)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        from beeagent_cloud.cleanup.command import clean_up  # noqa: PLC0415 - light until it runs

    clean_up(
        project=project,
        stack=stack,
        region=region,
        dry_run=dry_run,
        say=typer.echo,
        agreed=consent(yes=yes),
        wait=lambda: time.sleep(look_every),
    )
