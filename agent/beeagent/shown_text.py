"""Text that others wrote, made safe to show in a terminal."""

from typing import Final

_MAX_TEXT: Final = 80  # characters of a name or a label


def shown(text: str) -> str:
    """Replace what could steer a terminal (control, format and unassigned characters), and cut what is too long."""
    cut = text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
