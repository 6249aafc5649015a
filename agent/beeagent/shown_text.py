"""Text that others wrote, made safe to show in a terminal."""

from typing import Final

_MAX_TEXT: Final = 80  # characters of a name or a label


def shown(text: str, *, most: int = _MAX_TEXT) -> str:
    """Replace what could steer a terminal (control, format and unassigned characters), and cut what is too long.

    Args:
        text: to show.
        most: characters that are left.
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
