"""Dataset formats that can be written. Imports nothing heavy: the command line lists the choices."""

from enum import Enum


class DatasetFormat(str, Enum):
    """The forms of datasets, as they are called on the command line."""

    GROUND_TRUTH = "ground-truth"
    COCO = "coco"
    YOLO = "yolo"


class ImageHandling(str, Enum):
    """What to do with the images when a dataset is converted."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"
