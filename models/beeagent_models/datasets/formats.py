"""Dataset formats that can be written. Imports nothing heavy: the command line lists the choices."""

from enum import Enum


class Form(str, Enum):
    """The forms of data sets, as they are called on the command line."""

    GROUND_TRUTH = "ground-truth"
    COCO = "coco"
    YOLO = "yolo"


class Pictures(str, Enum):
    """What becomes of the pictures when a data set is written anew."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"
