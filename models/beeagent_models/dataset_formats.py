"""Dataset formats that can be written. Without heavy imports, because the command line lists the choices."""

from enum import Enum


class DatasetFormat(str, Enum):
    """Dataset formats, with their names on the command line."""

    GROUND_TRUTH = "ground-truth"
    COCO = "coco"
    YOLO = "yolo"


class ImageHandling(str, Enum):
    """Handling of the image files in a conversion."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"
