"""Arguments and options of several commands. Without heavy imports, because the command line lists the commands."""

from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

DATA_HELP: Final = (
    "A Ground Truth manifest, a COCO file, or a YOLO folder; one without data.yaml needs class names: PATH=bee,wasp."
)

Data = Annotated[str, Argument(metavar="DATA[=LABELS]", help=DATA_HELP)]
Manifest = Annotated[Path, Argument(help="A Ground Truth manifest.")]
Attribute = Annotated[str | None, Option(metavar="NAME", help="Label attribute of a manifest that has several.")]
Threads = Annotated[int, Option(help="CPU threads of an inference.")]
Sheet = Annotated[Path | None, Option(help="Contact sheet to write, .png or .jpg.")]
Series = Annotated[
    str | None,
    Option(
        metavar="REGEX",
        help="Regular expression for the series in an image's name. Default: the name up to its last number.",
    ),
]
PrecisionFloor = Annotated[
    float | None, Option(help="Choose the threshold with the best recall at this precision or more, on each dataset.")
]
RecallFloor = Annotated[
    float | None,
    Option(help="Choose the threshold with the best precision at this recall or more, on the first dataset."),
]
Certainty = Annotated[
    float | None,
    Option(
        help="Confidence level of --precision-floor, such as 0.95: the lower bound of Wilson's interval must reach it, "
        "because a measured precision may be too high by chance."
    ),
]
