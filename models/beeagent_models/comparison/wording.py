"""How the figures of a comparison are written, in the terminal and on the page alike."""

from typing import Final

from beeagent_models.comparison.findings import Kind

UNKNOWN: Final = "-"

_KINDS: Final[dict[Kind, str]] = {
    "device": "device",
    "messages": "messages",
    "answers": "cloud, kept",
    "cloud": "cloud",
}


def kind_in_words(kind: Kind) -> str:
    """Say what a contender is."""
    return _KINDS[kind]


def milliseconds_in_words(milliseconds: float | None) -> str:
    """Write a time."""
    return UNKNOWN if milliseconds is None else f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def pictures_in_words(count: int) -> str:
    """Write a number of pictures."""
    return f"{count:,} picture{'' if count == 1 else 's'}"


def boxes_in_words(count: int) -> str:
    """Write a number of boxes."""
    return f"{count:,} box{'' if count == 1 else 'es'}"


def bytes_in_words(count: float) -> str:
    """Write a number of bytes."""
    return f"{count:,.0f}"


def price_in_words(dollars: float | None) -> str:
    """Write US dollars."""
    return UNKNOWN if dollars is None else "0" if dollars == 0 else f"{dollars:,.2f}"
