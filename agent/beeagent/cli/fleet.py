"""`beeagent fleet status`: all devices at a broker."""

from typing import Annotated, Any

import typer

from beeagent.cli.options import BROKER, Config, settings_options
from beeagent.settings import load_settings

_EXIT_FAILURE = 1


def fleet_commands() -> typer.Typer:
    """Return the command group `fleet`."""
    app = typer.Typer(help="Show all devices at a broker.", no_args_is_help=True)
    app.command()(status)
    return app


@settings_options(*BROKER, "topic_prefix")
def status(
    *,
    wait: Annotated[
        float,
        typer.Option(min=0.1, max=60, help="Seconds to wait for another device; at most ten times that in total."),
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
    **options: Any,  # noqa: ANN401 - the type depends on the setting
) -> None:
    """Print a table of all devices, outliers first: version, model, health, last result.

    Exit code 0 if there is at least one device and all are online, otherwise 1.
    """
    from beeagent.cli.fleet_status import show_fleet

    settings = load_settings(options, config=config)
    if not show_fleet(settings, wait_s=wait, as_json=as_json, write=typer.echo):
        raise typer.Exit(_EXIT_FAILURE)
