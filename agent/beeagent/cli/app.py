"""The command line: parse, build, run. No logic of its own."""

import json
import sys
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from beeagent import __version__
from beeagent.camera import redacted
from beeagent.cli.options import (
    Broker,
    Collect,
    Config,
    InsecureTls,
    Labels,
    Model,
    MqttCaFile,
    MqttCertificateFile,
    MqttClientId,
    MqttKeyFile,
    MqttPasswordFile,
    MqttUsername,
    MqttVersion,
    Threads,
    Tiles,
    Workers,
)
from beeagent.cli.rekognition import rekognition_commands
from beeagent.errors import BeeagentError, InputError
from beeagent.settings import load_settings
from beeagent.standard_output import checked_output

_EXIT_FAILURE = 1
_EXIT_USAGE = 2

_EPILOG = (
    'Every option is also a key of the TOML file (camera_name = "front") and an environment variable '
    "(BEEAGENT_CAMERA_NAME=front). The command line wins over the environment, the environment over the file. "
    "Exit codes: 0 done or stopped by a signal, 2 bad usage or configuration, 130 interrupted before the agent ran, "
    "1 anything else."
)


def main() -> None:
    """Run the `beeagent` command and leave the process with its exit code."""
    try:
        with checked_output():
            build_app()()
    except InputError as error:
        _fail(error, _EXIT_USAGE)
    except BeeagentError as error:
        _fail(error, _EXIT_FAILURE)


def build_app() -> typer.Typer:
    """Put the command line together: the commands below and those that other packages bring along."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_EPILOG,
    )
    app.callback(invoke_without_command=True)(run)
    for command in (demo, watch, status, doctor, bench, schema):
        app.command(epilog=None)(command)
    app.add_typer(rekognition_commands(), name="rekognition")
    for entry in sorted(entry_points(group="beeagent.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def run(
    context: typer.Context,
    *,
    camera: Annotated[
        str | None,
        typer.Option(
            help="What to look at: a camera's number or /dev/videoN, csi, an rtsp:// or http:// address, a video "
            "file, a picture, a folder or glob of pictures, or synthetic."
        ),
    ] = None,
    camera_name: Annotated[str | None, typer.Option(help="The camera's name in topics. Default: camera.")] = None,
    device: Annotated[str | None, typer.Option(help="The device's name in topics. Default: the host name.")] = None,
    model: Model = None,
    labels: Labels = None,
    broker: Broker = None,
    mqtt_client_id: MqttClientId = None,
    mqtt_version: MqttVersion = None,
    mqtt_username: MqttUsername = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca_file: MqttCaFile = None,
    mqtt_certificate_file: MqttCertificateFile = None,
    mqtt_key_file: MqttKeyFile = None,
    insecure_tls: InsecureTls = None,
    topic_prefix: Annotated[str | None, typer.Option(help="First levels of every topic. Default: beeagent.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Confidence from which a detection counts, 0 to 1. Default: the bundle's.")
    ] = None,
    tiles: Tiles = None,
    threads: Threads = None,
    workers: Workers = None,
    publish: Annotated[
        str | None,
        typer.Option(
            metavar="detections|always|changes",
            help="Frames that make a message: those with detections (the default), all, or those whose counts changed.",
        ),
    ] = None,
    max_rate: Annotated[float | None, typer.Option(help="Frames per second to look at, at most.")] = None,
    realtime: Annotated[bool | None, typer.Option("--realtime", help="Play a file like a camera.")] = None,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.")] = None,
    await_camera: Annotated[
        bool | None,
        typer.Option("--await-camera", help="Wait for a camera that is not there at the start; do not refuse it."),
    ] = None,
    camera_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size to ask a local camera for, such as 1280x720. Default: the camera's."),
    ] = None,
    camera_fps: Annotated[
        float | None, typer.Option(help="Frames per second to ask a local camera for. Default: the camera's.")
    ] = None,
    camera_timeout: Annotated[
        float | None, typer.Option(help="Seconds without a frame until a camera is opened again. Default: 5.")
    ] = None,
    freeze_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds with the very same picture until a camera is opened again, 0 for never. Default: 5."
        ),
    ] = None,
    collect: Collect = None,
    stdout: Annotated[
        bool | None, typer.Option("--stdout", help="Write each message as a JSON line to standard output.")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder for what must survive a restart.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Serve /metrics (Prometheus) and /healthz at this port. Default: no HTTP.")
    ] = None,
    http_host: Annotated[str | None, typer.Option(help="The address to serve them at. Default: 127.0.0.1.")] = None,
    config: Config = None,
    greengrass: Annotated[
        bool,
        typer.Option(
            "--greengrass",
            help="Take the settings from the configuration of the Greengrass component that this process is, in place "
            "of a file, and follow deployments that change it.",
        ),
    ] = False,
    log_format: Annotated[
        str | None, typer.Option(metavar="text|json", help="Form of the log on standard error. Default: text.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Find the bees in every frame of a camera, and publish only what was seen.

    beeagent --camera 0 looks until it is stopped; frames stay on this machine.
    """
    given = {key: value for key, value in context.params.items() if key not in {"config", "greengrass", "version"}}
    if version:
        typer.echo(__version__)
        return
    if context.invoked_subcommand is not None:
        _refuse_options_before_command(given, context.invoked_subcommand)
        return
    if camera is None and config is None and not greengrass and not any(value is not None for value in given.values()):
        typer.echo(context.get_help())
        return
    _refuse_password(camera)
    if greengrass:
        if config is not None:
            raise InputError(f"--greengrass and --config {config} are both given: give one of them")
        from beeagent.greengrass import run_component

        run_component(given)
        return
    from beeagent.runtime.run import run_agent

    run_agent(partial(load_settings, given, config=config))


def demo(
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames. Default: when interrupted.")] = None,
    model: Model = None,
    labels: Labels = None,
    threads: Threads = None,
) -> None:
    """Show it all at work in one terminal: synthetic camera, embedded broker, a subscriber."""
    from beeagent.cli.demo import run_demo

    run_demo(load_settings({"frames": frames, "model": model, "labels": labels, "threads": threads}, config=None))


def watch(
    context: typer.Context,
    *,
    broker: Broker = None,
    mqtt_version: MqttVersion = None,
    mqtt_username: MqttUsername = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca_file: MqttCaFile = None,
    mqtt_certificate_file: MqttCertificateFile = None,
    mqtt_key_file: MqttKeyFile = None,
    insecure_tls: InsecureTls = None,
    topic_prefix: Annotated[str | None, typer.Option(help="First levels of the topics. Default: beeagent.")] = None,
    device: Annotated[str, typer.Option(help="Only this device.")] = "+",
    camera: Annotated[str, typer.Option(help="Only this camera.")] = "+",
    messages: Annotated[int | None, typer.Option(help="Stop after so many messages.")] = None,
    config: Config = None,
) -> None:
    """Subscribe, and show detections readably as they come."""
    from beeagent.cli.watch import run_watch

    options = {"broker": broker, "topic_prefix": topic_prefix, **_mqtt_options(context)}
    settings = load_settings(options, config=config)
    run_watch(settings, device=device, camera=camera, messages=messages, write=typer.echo)


def status(
    context: typer.Context,
    *,
    broker: Broker = None,
    mqtt_version: MqttVersion = None,
    mqtt_username: MqttUsername = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca_file: MqttCaFile = None,
    mqtt_certificate_file: MqttCertificateFile = None,
    mqtt_key_file: MqttKeyFile = None,
    insecure_tls: InsecureTls = None,
    topic_prefix: Annotated[str | None, typer.Option(help="First levels of the topics. Default: beeagent.")] = None,
    device: Annotated[str, typer.Option(help="Only this device.")] = "+",
    wait: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for states.")] = 2,
    config: Config = None,
) -> None:
    """Ask the broker how the devices are, and show it; exit code 1 unless there is one and all are online."""
    from beeagent.cli.status import show_status

    options = {"broker": broker, "topic_prefix": topic_prefix, **_mqtt_options(context)}
    settings = load_settings(options, config=config)
    if not show_status(settings, device=device, wait_s=wait, write=typer.echo):
        raise typer.Exit(_EXIT_FAILURE)


def doctor(
    context: typer.Context,
    *,
    camera: Annotated[str | None, typer.Option(help="The camera to check, as for the agent.")] = None,
    model: Model = None,
    labels: Labels = None,
    broker: Broker = None,
    mqtt_version: MqttVersion = None,
    mqtt_username: MqttUsername = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca_file: MqttCaFile = None,
    mqtt_certificate_file: MqttCertificateFile = None,
    mqtt_key_file: MqttKeyFile = None,
    insecure_tls: InsecureTls = None,
    threads: Threads = None,
    state_dir: Annotated[Path | None, typer.Option(help="The state folder to check, as for the agent.")] = None,
    config: Config = None,
) -> None:
    """Check runtime, model, camera and broker, and say in plain words what is wrong and what to do."""
    from beeagent.cli.doctor import examine

    options: dict[str, Any] = {"camera": camera, "model": model, "labels": labels, "broker": broker, "threads": threads}
    options.update(_mqtt_options(context), state_dir=state_dir)
    if not examine(load_settings(options, config=config), write=typer.echo):
        raise typer.Exit(_EXIT_FAILURE)


def bench(
    camera: Annotated[
        str | None, typer.Option(help="What to look at, as for the agent. Default: synthetic:1280x720?live=no.")
    ] = None,
    model: Model = None,
    labels: Labels = None,
    tiles: Tiles = None,
    threads: Threads = None,
    workers: Workers = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to measure each part.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the whole agent against the bare model on the same threads, and where the rest of the time goes."""
    from beeagent.cli.bench import measure

    options = {
        "camera": camera,
        "model": model,
        "labels": labels,
        "tiles": tiles,
        "threads": threads,
        "workers": workers,
    }
    report = measure(load_settings(options, config=None), seconds=seconds)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else report.to_text())


def schema(
    name: Annotated[str, typer.Argument(metavar="[detections|status]", help="Which message.")] = "detections",
) -> None:
    """Print the JSON Schema of a message."""
    from beeagent.messages import load_schema

    typer.echo(json.dumps(load_schema(name), indent=2))


def _mqtt_options(context: typer.Context) -> dict[str, Any]:
    """Give the options of how to be let in by the broker, which several commands have."""
    return {key: value for key, value in context.params.items() if key.startswith("mqtt_") or key == "insecure_tls"}


def _refuse_password(camera: str | None) -> None:
    """Keep passwords off the command line, which every user of the machine can read."""
    if camera is not None and redacted(camera).startswith(camera.partition("://")[0] + "://***@"):
        raise InputError(
            f"--camera {redacted(camera)} has a user or password in it, where others can read it: give the address as "
            "BEEAGENT_CAMERA, or as camera in the TOML file"
        )


def _refuse_options_before_command(given: dict[str, Any], command: str) -> None:
    for key, value in given.items():
        if value is not None:
            raise InputError(f"--{key.replace('_', '-')} stands before {command}: options go behind the command")


def _fail(error: Exception, code: int) -> None:
    sys.stderr.write(f"beeagent: {' '.join(str(error).split())}\n")
    sys.exit(code)
