"""Asks the person at the terminal before something costs money or is gone."""

import sys
from collections.abc import Callable

import typer
from beeagent.errors import InputError


def consent(*, yes: bool) -> Callable[[str], bool]:
    """Give what asks a question that wants a yes.

    Args:
        yes: whether `--yes` has answered all of them.

    Returns:
        It takes the question, and says whether the answer is yes. Where nobody can answer, it raises InputError.
    """

    def agreed(question: str) -> bool:
        if yes:
            typer.echo(f"{question} yes")
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Nobody is there to ask: give --yes")
        return typer.confirm(question)

    return agreed
