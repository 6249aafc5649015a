"""Parses and validates the input size of a network."""

import re

from beeagent.errors import InputError

MIN_SIDE, MAX_SIDE = 64, 2048
STRIDE = 32
"""Stride of the backbone's coarsest feature map in pixels."""


def parse_input_size(text: str, *, option: str = "--input-size") -> tuple[int, int]:
    """Parse `640x384`, or `320` for a square.

    Args:
        text: value of the option.
        option: name of the option, for errors.

    Returns:
        Width and height in pixels, 64 to 2048 each.

    Raises:
        InputError: the format is wrong, or a side is out of range.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text)
    if match is None:
        raise InputError(f"{option} is {text!r}: give WIDTHxHEIGHT in pixels, such as 640x384, or one side")
    width, height = int(match[1]), int(match[2] or match[1])
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
        raise InputError(f"{option} is {text!r}: allowed are {MIN_SIDE} to {MAX_SIDE} pixels a side")
    return width, height


def check_alignment(size: tuple[int, int]) -> None:
    """Refuse an input size at which weights trained at another size would predict shifted boxes.

    Each level has half the size of the previous one, rounded up. Where a side is odd, 'same' padding shifts the coarser
    cells by up to half a cell against their anchors: at 640x360, boxes of the second level are up to 8 pixels off, of
    the third 23. With multiples of 32, the three levels of the backbone are exact, with multiples of 128 all five.

    Args:
        size: width and height in pixels.

    Raises:
        InputError: a side is not a multiple of 32; the error names the nearest valid sizes.
    """
    if not any(side % STRIDE for side in size):
        return
    smaller = "x".join(str(max(MIN_SIDE, side // STRIDE * STRIDE)) for side in size)
    larger = "x".join(str(-(-side // STRIDE) * STRIDE) for side in size)
    raise InputError(
        f"--input-size is {size[0]}x{size[1]}: a side is not a multiple of {STRIDE}, so boxes would be shifted: "
        f"give {smaller} or {larger} (multiples of 128 are best); a frame of another shape is letterboxed"
    )
