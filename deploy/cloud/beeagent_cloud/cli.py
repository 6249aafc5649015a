"""The commands `rekognition create|import|train|metrics`, `cleanup` and `rollout`: parse, build, run. No logic.

The device's command line loads this module to list the commands, so heavy imports are inside the commands.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from beeagent.cli.options import BROKER, Config, settings_options
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
    """Show precision, recall, F1 and threshold of each label, as measured by Rekognition."""
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
        str | None, Option(metavar="NAME", help="Only resources of this project. Default: all of beeagent.")
    ] = None,
    stack: Annotated[str | None, Option(metavar="NAME", help="Only this stack.")] = None,
    region: Region = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only list the resources to remove.")] = False,
    yes: Yes = False,
    poll_interval: PollInterval = 10.0,
) -> None:
    """Remove the AWS resources that beeagent created: models, projects and datasets of Rekognition, stacks and buckets.

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


@settings_options(*BROKER, "topic_prefix")
def rollout(
    *,
    canary: Annotated[Path, Option(metavar="JSON", help="Deployment to the canary group: input of create-deployment.")],
    fleet: Annotated[Path, Option(metavar="JSON", help="Deployment to the fleet.")],
    soak: Annotated[
        float, Option(min=0, max=1440, help="Minutes a device has to be online with the new version.")
    ] = 15,
    grace: Annotated[float, Option(min=0, max=1440, help="Minutes a device may be unhealthy meanwhile.")] = 5,
    timeout: Annotated[float, Option(min=0, max=10080, help="Minutes for each of the two stages.")] = 60,
    max_failed: Annotated[
        float, Option(min=0, max=100, help="Percent of the fleet that may fail; of the canaries, 0.")
    ] = 10,
    roll_back: Annotated[bool, Option(help="Repeat the previous deployment if one is stopped.")] = True,
    poll_interval: PollInterval = 10.0,
    region: Region = None,
    yes: Yes = False,
    config: Config = None,
    **options: Any,  # noqa: ANN401 - the type depends on the setting
) -> None:
    """Deploy with Greengrass to a canary group, watch its status messages, then deploy to the fleet, or stop.

    The exit code is 1 if it was stopped: a device failed, or was not online with the new version in time.
    """
    with requires_extra("rekognition"):
        from beeagent_cloud.rollout import Rollout, RolloutLimits, StatusWatch, read_deployment
    from beeagent.cli.watch import reader_options
    from beeagent.settings import load_settings

    settings = load_settings(options, config=config)
    limits = RolloutLimits(
        soak_s=soak * 60,
        grace_s=grace * 60,
        timeout_s=timeout * 60,
        max_failed_percent=max_failed,
        poll_s=poll_interval,
    )
    requests = read_deployment(canary), read_deployment(fleet)
    mqtt = reader_options(settings, "rollout", problem="has no status messages")
    leaving = threading.Event()
    with on_stop_signals(leaving.set), StatusWatch(mqtt, prefix=settings.messages.topic_prefix) as watch:
        Rollout(watch=watch, limits=limits, region=region, report=typer.echo, leaving=leaving, roll_back=roll_back).run(
            *requests, confirm=_confirmation(yes=yes)
        )


def _confirmation(*, yes: bool) -> Callable[[str], bool]:
    """Return a function that asks for confirmation; with `yes`, it confirms every question without asking."""

    def confirm(question: str) -> bool:
        if yes:
            typer.echo(f"{question} yes")
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Standard input is no terminal: use --yes")
        return typer.confirm(question)

    return confirm
