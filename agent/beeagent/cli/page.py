"""`beeagent page password`: the passwords of the page."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from beeagent.errors import InputError


class Role(str, Enum):
    """Who signs in: an editor may change places and threshold, a viewer may look."""

    EDITOR = "editor"
    VIEWER = "viewer"


def page_commands() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Set the passwords of the page.", no_args_is_help=True)
    app.callback()(lambda: None)  # or its only command would be the group itself
    app.command()(password)
    return app


def password(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Password file, for --page-password-file.")],
    role: Annotated[Role, typer.Option(help="Whose password to set.")] = Role.EDITOR,
) -> None:
    """Set a password, read from the terminal or the first line of standard input; the file has only its hash.

    A running agent reads the file again on SIGHUP.
    """
    from beeagent.web import write_password

    if sys.stdin.isatty():
        text = str(typer.prompt(f"password of the {role.value}", hide_input=True, confirmation_prompt=True))
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise InputError("no password was given: type it, or write it to standard input")
    write_password(file, role.value, text)
    typer.echo(f"wrote the password of the {role.value} to {file}")
