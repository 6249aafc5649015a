"""`beeagent places check|draw|schema`: the places file with lines, zones and masks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from beeagent.errors import BeeagentError

File = Annotated[Path, typer.Argument(metavar="FILE", help="TOML file of lines, zones and masks.")]


def places_commands() -> typer.Typer:
    """Return the command group `places`."""
    app = typer.Typer(help="Check and draw a file of places: lines, zones and masks.", no_args_is_help=True)
    for command in (check, draw, schema):
        app.command()(command)
    return app


def check(file: File) -> None:
    """Check a file of places, and list them."""
    from beeagent.tracking import load_places

    places = load_places(file)
    for name, line in places.lines.items():
        typer.echo(f"line {name}: a crossing {line.in_} is in")
    for name, zone in places.zones.items():
        typer.echo(f"zone {name}: {len(zone.points)} corners")
    for name, mask in places.masks.items():
        typer.echo(f"mask {name}: {len(mask.points)} corners")
    if not (places.lines or places.zones):
        typer.echo("nothing is counted: there is no line and no zone")


def draw(
    *,
    file: File,
    image: Annotated[Path, typer.Option(metavar="IMG", help="Image of the camera to draw on.")],
    out: Annotated[Path, typer.Option(metavar="PNG", help="Image file to write.")],
) -> None:
    """Draw the places on an image."""
    import cv2

    from beeagent.camera.images import read_image
    from beeagent.tracking import draw_places, load_places

    drawn = draw_places(read_image(image), load_places(file))
    encoded, png = cv2.imencode(".png", drawn)
    if not encoded:
        raise BeeagentError(f"--image {image}: cannot be written as PNG: give a smaller image")
    try:
        out.write_bytes(png.tobytes())
    except OSError as error:
        raise BeeagentError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    typer.echo(f"wrote {out}")


def schema() -> None:
    """Print the JSON Schema of a file of places."""
    from beeagent.tracking import Places

    typer.echo(json.dumps(Places.model_json_schema(), indent=2))
