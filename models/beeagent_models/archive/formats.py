"""Formats of the results. Imports nothing heavy: the command line lists the choices."""

from enum import Enum


class ResultFormat(str, Enum):
    """The format of the results."""

    CSV = "csv"
    PARQUET = "parquet"
