"""`beeagent rekognition status|start|stop`: the cloud model for the second opinion, which AWS bills by the hour.

Other packages can add commands to this group through entry points.
"""

import re
import signal
import threading
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from beeagent.cli.options import Config
from beeagent.errors import InputError, requires_extra
from beeagent.settings import Settings, load_settings
from beeagent.threads import on_signals

if TYPE_CHECKING:
    from beeagent.cloud import ModelLifecycle

Arn = Annotated[
    str | None, typer.Option("--arn", help="ARN of the model (a project version). Default: the one in the settings.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation; for scripts.")]


def rekognition_commands() -> typer.Typer:
    """Return the command group `rekognition`."""
    app = typer.Typer(
        help="Create, show, start and stop the cloud model of the second opinion. AWS bills it by the hour.",
        no_args_is_help=True,
    )
    for command in (status, start, stop):
        app.command()(command)
    for entry in entry_points(group="beeagent.rekognition"):
        app.command(entry.name)(entry.load())
    return app


def status(arn: Arn = None, config: Config = None) -> None:
    """Print the state of the cloud model."""
    settings = _settings(arn, config)
    state = _lifecycle(settings).model.state()
    costs = state in {"RUNNING", "STARTING", "STOPPING"}
    price = f": {_price(settings)} per hour, used or not, until it is stopped" if costs else ""
    typer.echo(f"The cloud model is {state}{price}")


def start(
    *,
    arn: Arn = None,
    units: Annotated[int, typer.Option(min=1, max=100, help="Number of inference units; each is billed.")] = 1,
    stop_after: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Wait, and stop it after this time: 90m, 2h. Ctrl-C stops it at once."),
    ] = None,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Start the cloud model, and wait until it is running.

    With --stop-after, the command keeps running and stops the model. If it is killed, or the machine loses power or
    network for good, the model keeps running, and is billed, until somebody stops it.
    """
    settings = _settings(arn, config)
    seconds = None if stop_after is None else _seconds(stop_after)
    interrupted = threading.Event()
    lifecycle = _lifecycle(settings, interrupted)
    typer.echo(f"The cloud model is {lifecycle.model.state()}.")
    typer.echo(f"A running model costs {_price(settings, units)} per hour, used or not, until it is stopped.")
    if seconds is None:
        typer.echo("It does not stop by itself: run beeagent rekognition stop, or give --stop-after.")
    else:
        typer.echo(f"This command stops it after {stop_after}. If this machine fails before, the model keeps running.")
    if not yes:
        typer.confirm("Start it?", abort=True)
    with on_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), interrupted.set)):
        try:
            lifecycle.start(units)
            if seconds is not None:
                lifecycle.wait(seconds)
        finally:
            if seconds is not None:
                lifecycle.stop()
        if seconds is None and interrupted.is_set():
            typer.echo("It is still starting, and will be billed: run beeagent rekognition stop to stop it.")


def stop(arn: Arn = None, config: Config = None) -> None:
    """Stop the cloud model, and wait until it is stopped."""
    _lifecycle(_settings(arn, config)).stop()


def _settings(arn: str | None, config: Config) -> Settings:
    settings = load_settings({"rekognition_project_version_arn": arn}, config=config)
    if settings.rekognition.project_version_arn is None:
        raise InputError(
            "there is no cloud model: give --arn, or project_version_arn in section [rekognition] of the TOML file"
        )
    return settings


def _lifecycle(settings: Settings, interrupted: threading.Event | None = None) -> "ModelLifecycle":
    with requires_extra("rekognition"):
        from beeagent.cloud import CloudModel, ModelLifecycle  # noqa: PLC0415 - boto3 is an extra

    model = CloudModel(settings.rekognition.project_version_arn or "")
    return ModelLifecycle(model, report=typer.echo, interrupted=interrupted or threading.Event())


def _price(settings: Settings, units: int = 1) -> str:
    return f"about ${settings.rekognition.hourly_price * units:.2f}"


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,5})(m|min|h)", text.strip())
    if match is None or int(match[1]) == 0:
        raise InputError(f"--stop-after is {text!r}: give minutes or hours, such as 90m or 2h")
    return int(match[1]) * (3600.0 if match[2] == "h" else 60.0)
