"""`beeagent home-assistant remove`: removes a camera from Home Assistant."""

from typing import Any

import typer

from beeagent.cli.options import BROKER, Config, settings_options


def home_assistant_commands() -> typer.Typer:
    """Return the command group `home-assistant`."""
    app = typer.Typer(help="Manage the cameras in Home Assistant.", no_args_is_help=True)
    app.callback()(_group)
    app.command()(remove)
    return app


def _group() -> None:
    """Make Typer keep `remove` as a subcommand, though it is the only one."""


@settings_options(*BROKER, "topic_prefix", "home_assistant_prefix", "device", "camera_name")
def remove(*, config: Config = None, **options: Any) -> None:  # noqa: ANN401 - the type depends on the setting
    """Remove a camera and its entities from Home Assistant. First stop its agent, or remove home_assistant from it."""
    from beeagent.cli.watch import reader_options
    from beeagent.messages import discovery_topic, state_topic
    from beeagent.mqtt import clear_retained
    from beeagent.settings import load_settings

    settings = load_settings(options, config=config)
    prefix, device, camera = settings.messages.topic_prefix, settings.agent.device, settings.camera.name
    broker = reader_options(settings, "home-assistant", problem="has no Home Assistant")
    topic = discovery_topic(settings.home_assistant.prefix, prefix, device, camera)
    cleared = clear_retained(broker, [topic, state_topic(prefix, device, camera)])
    if topic in cleared:
        typer.echo(f"removed {device}/{camera} from Home Assistant ({topic})")
    else:
        typer.echo(f"{device}/{camera} was not announced on {topic}: check --device, --camera-name and the prefixes")
        raise typer.Exit(1)
