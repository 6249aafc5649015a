"""`beeagent home-assistant remove`: removes a camera from Home Assistant."""

from typing import Any

import typer

from beeagent.cli.options import BROKER, Config, settings_options


def home_assistant_commands() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Manage what Home Assistant knows of the cameras.", no_args_is_help=True)
    app.callback()(_group)
    app.command()(remove)
    return app


def _group() -> None:
    """Keep `remove` a command of its own name, though it is the only one."""


@settings_options(*BROKER, "topic_prefix", "home_assistant_prefix", "device", "camera_name")
def remove(*, config: Config = None, **options: Any) -> None:  # noqa: ANN401 - of the type of each setting
    """Remove a camera and its entities from Home Assistant. Stop its agent, or take home_assistant out, before."""
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
