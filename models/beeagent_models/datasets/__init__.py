"""Datasets of labelled images: reading, checking, conversion, splitting and synthesis.

All formats are read as a `Dataset`, or image by image as an `ImageRecord`. Independent of models and Keras.

The names in `__all__` are imported on first use, because only some of their modules need the extra `evaluate`.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent_models.datasets.dataset import Dataset, DatasetBuilder, LabelledImage
    from beeagent_models.datasets.defects import strict
    from beeagent_models.datasets.ground_truth import (
        ClassMaps,
        GroundTruthReader,
        ManifestLine,
        line_record,
        manifest_lines,
        parse_line,
        parse_row,
    )
    from beeagent_models.datasets.image_files import decode_image, find_image, find_image_file, load_image
    from beeagent_models.datasets.reading import check_dataset, merge_datasets, open_dataset, parse_source, read_dataset
    from beeagent_models.datasets.records import ImageRecord, Reader
    from beeagent_models.datasets.split import Split, hold_back
    from beeagent_models.datasets.sqlite_index import first_seen
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "dataset": (
                "Dataset",
                "DatasetBuilder",
                "LabelledImage",
            ),
            "defects": ("strict",),
            "ground_truth": (
                "ClassMaps",
                "GroundTruthReader",
                "ManifestLine",
                "line_record",
                "manifest_lines",
                "parse_line",
                "parse_row",
            ),
            "image_files": (
                "decode_image",
                "find_image",
                "find_image_file",
                "load_image",
            ),
            "reading": (
                "check_dataset",
                "merge_datasets",
                "open_dataset",
                "parse_source",
                "read_dataset",
            ),
            "records": (
                "ImageRecord",
                "Reader",
            ),
            "split": (
                "Split",
                "hold_back",
            ),
            "sqlite_index": ("first_seen",),
        },
    )

__all__ = [
    "ClassMaps",
    "Dataset",
    "DatasetBuilder",
    "GroundTruthReader",
    "ImageRecord",
    "LabelledImage",
    "ManifestLine",
    "Reader",
    "Split",
    "check_dataset",
    "decode_image",
    "find_image",
    "find_image_file",
    "first_seen",
    "hold_back",
    "line_record",
    "load_image",
    "manifest_lines",
    "merge_datasets",
    "open_dataset",
    "parse_line",
    "parse_row",
    "parse_source",
    "read_dataset",
    "strict",
]
