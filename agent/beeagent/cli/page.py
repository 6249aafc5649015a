"""`beeagent page password`: the passwords of the page."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from beeagent.errors import InputError


class Role(str, Enum):
    """Role of a user: an editor may change places and threshold, a viewer may not."""

    EDITOR = "editor"
    VIEWER = "viewer"


def page_commands() -> typer.Typer:
    """Return the command group `page`."""
    app = typer.Typer(help="Set the passwords of the page.", no_args_is_help=True)
    app.callback()(lambda: None)  # makes Typer keep `password` as a subcommand, though it is the only one
    app.command()(password)
    return app


def password(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Password file, for --page-password-file.")],
    role: Annotated[Role, typer.Option(help="Role of the user.")] = Role.EDITOR,
) -> None:
    """Set a password, read from the terminal or the first line of standard input; the file stores only its hash.

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
