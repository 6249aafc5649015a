"""The command line: parses arguments and calls the modules that implement the commands.

These modules are imported when their command runs, so that `--help` starts fast.
"""

import json
import sys
from datetime import datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from beeagent import __version__
from beeagent.cli.fleet import fleet_commands
from beeagent.cli.home_assistant import home_assistant_commands
from beeagent.cli.options import BROKER, Config, settings_options
from beeagent.cli.page import page_commands
from beeagent.cli.places import places_commands
from beeagent.cli.rekognition import rekognition_commands
from beeagent.errors import BeeagentError, InputError
from beeagent.output import checked_output, redacted
from beeagent.settings import load_settings

_EXIT_FAILURE = 1
_EXIT_USAGE = 2

_EPILOG = (
    'Each option is also a key in a section of the TOML file ([camera] name = "front") and an environment variable '
    "(BEEAGENT_CAMERA_NAME=front). The command line overrides the environment, the environment overrides the file. Two "
    "settings have no option: BEEAGENT_MQTT_PASSWORD (a secret) and BEEAGENT_REKOGNITION_LABELS (a table). "
    "Exit codes: 0 done or stopped by a signal, 2 wrong usage or configuration, 130 interrupted before the agent ran, "
    "1 any other error."
)

Device = Annotated[str, typer.Option(help="Only this device (+ = all).")]


class _GroupedHelp(TyperGroup):
    """Help in plain text with the options by section of the settings, which Typer supports with Rich only."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer has its own copy of Click's types
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        self.format_commands(ctx, formatter)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def main() -> None:
    """Run the `beeagent` command and exit with its exit code."""
    try:
        with checked_output():
            build_app()()
    except BeeagentError as error:
        sys.stderr.write(f"beeagent: {' '.join(str(error).split())}\n")
        sys.exit(_EXIT_USAGE if isinstance(error, InputError) else _EXIT_FAILURE)


def build_app() -> typer.Typer:
    """Return the command line: the commands below, and the entry points of other packages."""
    app = typer.Typer(
        cls=_GroupedHelp,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_EPILOG,
    )
    app.callback(invoke_without_command=True)(run)
    for command in (demo, watch, status, report, doctor, bench, schema):
        app.command(epilog=None)(command)
    app.add_typer(page_commands(), name="page")
    app.add_typer(fleet_commands(), name="fleet")
    app.add_typer(places_commands(), name="places")
    app.add_typer(rekognition_commands(), name="rekognition")
    app.add_typer(home_assistant_commands(), name="home-assistant")
    for entry in sorted(entry_points(group="beeagent.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


@settings_options()
def run(
    *,
    context: typer.Context,
    config: Config = None,
    greengrass: Annotated[
        bool,
        typer.Option(
            "--greengrass",
            help="Run as a Greengrass component: read the settings from its configuration instead of a file, and apply "
            "deployments that change it.",
        ),
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    **options: Any,  # noqa: ANN401 - the type depends on the setting
) -> None:
    """Detect bees in every frame of a camera, and publish the detections.

    beeagent --camera 0 runs until it is stopped. Frames stay on this machine.
    """
    if version:
        typer.echo(__version__)
        return
    if context.invoked_subcommand is not None:
        _refuse_options_before_command(options, context.invoked_subcommand)
        return
    if config is None and not greengrass and all(value is None for value in options.values()):
        typer.echo(context.get_help())
        return
    _refuse_password(options["camera"])
    if greengrass:
        if config is not None:
            raise InputError(f"--greengrass and --config {config} are both given: give one of them")
        from beeagent.runtime import run_component

        run_component(options)
        return
    from beeagent.runtime import run_agent

    run_agent(partial(load_settings, options, config=config))


@settings_options("frames", "model", "labels", "threads")
def demo(**options: Any) -> None:  # noqa: ANN401 - as above
    """Show the agent at work in this terminal: synthetic camera, embedded broker, subscriber."""
    from beeagent.cli.demo import run_demo

    run_demo(load_settings(options, config=None))


@settings_options(*BROKER, "topic_prefix")
def watch(
    *,
    device: Device = "+",
    camera: Annotated[str, typer.Option(help="Only this camera (+ = all).")] = "+",
    messages: Annotated[int | None, typer.Option(min=1, help="Stop after this many results.")] = None,
    config: Config = None,
    **options: Any,  # noqa: ANN401 - as above
) -> None:
    """Subscribe to a broker, and print detections as they arrive."""
    from beeagent.cli.watch import run_watch

    settings = load_settings(options, config=config)
    run_watch(settings, device=device, camera=camera, messages=messages, write=typer.echo)


@settings_options(*BROKER, "topic_prefix")
def status(
    *,
    device: Device = "+",
    wait: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for status messages.")] = 2,
    config: Config = None,
    **options: Any,  # noqa: ANN401 - as above
) -> None:
    """Print the status of the devices; exit code 0 if there is at least one and all are online, otherwise 1."""
    from beeagent.cli.status import show_status

    settings = load_settings(options, config=config)
    if not show_status(settings, device=device, wait_s=wait, write=typer.echo):
        raise typer.Exit(_EXIT_FAILURE)


@settings_options("device", "camera_name", "state_dir", *BROKER, "topic_prefix")
def report(  # noqa: PLR0913 - the options of the command
    *,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Messages of the agent, one per line, or its file of counts."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="HTML|CSV", help="Page, or table of the counts, to write.")],
    from_history: Annotated[
        bool, typer.Option("--from-history", help="Use the counts in the state folder of this device and camera.")
    ] = False,
    from_broker: Annotated[
        bool,
        typer.Option("--from-broker", help="Collect messages, and update the report with each one, until Ctrl-C."),
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Duration of --from-broker in seconds.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Day to show, by the time zone of this machine. Default: the last one on a page, all in a table.",
        ),
    ] = None,
    config: Config = None,
    **options: Any,  # noqa: ANN401 - as above
) -> None:
    """Write the traffic of a day as a page, or counts as CSV: from messages, a broker, or the counts on this device."""
    from beeagent.cli.report import report_broker, report_file, report_history

    if (file is not None) + from_history + from_broker != 1:
        raise InputError("give one of FILE, --from-history and --from-broker")
    if seconds is not None and not from_broker:
        raise InputError(f"--seconds {seconds:g} requires --from-broker")
    shown_day = None if day is None else day.date()
    device, camera = options["device"], options["camera_name"]
    if file is not None:
        report_file(file, device=device, camera=camera, day=shown_day, out=out, write=typer.echo)
        return
    settings = load_settings(options, config=config)
    if from_history:
        name = f"{settings.agent.device}, camera {settings.camera.name}"
        report_history(settings.state_file("counts.sqlite3"), camera=name, day=shown_day, out=out, write=typer.echo)
        return
    report_broker(settings, device=device, camera=camera, day=shown_day, seconds=seconds, out=out, write=typer.echo)


@settings_options(
    "camera",
    "model",
    "labels",
    *BROKER,
    "threads",
    "workers",
    "state_dir",
    "max_rate",
    "active",
    "latitude",
    "longitude",
)
def doctor(*, config: Config = None, **options: Any) -> None:  # noqa: ANN401 - as above
    """Check model, camera, broker and state folder, with remedies, and name the bundled model that fits best."""
    from beeagent.cli.doctor import examine

    if not examine(load_settings(options, config=config), write=typer.echo):
        raise typer.Exit(_EXIT_FAILURE)


@settings_options("camera", "model", "labels", "tiles", "regions", "max_inference_rate", "threads", "workers")
def bench(
    *,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds to measure the agent, and again the model.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    **options: Any,  # noqa: ANN401 - as above
) -> None:
    """Measure the speed of the whole agent and of the model alone, by default with synthetic:1280x720?live=no.

    With a camera, also name the bundled model that fits it and this machine.
    """
    from beeagent.cli.bench import measure, report_text

    figures = measure(load_settings(options, config=None), seconds=seconds)
    typer.echo(json.dumps(figures, indent=2) if as_json else report_text(figures))


def schema(
    name: Annotated[
        str, typer.Argument(metavar="[detections|state|status|traffic]", help="Type of the message.")
    ] = "detections",
) -> None:
    """Print the JSON Schema of a message."""
    from beeagent.messages import load_schema

    typer.echo(json.dumps(load_schema(name), indent=2))


def _refuse_password(camera: str | None) -> None:
    """Refuse a password on the command line, which every user of the machine can read."""
    if camera is not None and redacted(camera).startswith(camera.partition("://")[0] + "://***@"):
        raise InputError(
            f"--camera {redacted(camera)} contains a user name or password, which others can read: give the "
            "address as BEEAGENT_CAMERA, or as address in section [camera] of the TOML file"
        )


def _refuse_options_before_command(options: dict[str, Any], command: str) -> None:
    for key, value in options.items():
        if value is not None:
            raise InputError(f"--{key.replace('_', '-')} is given before {command}: put options after the command")
