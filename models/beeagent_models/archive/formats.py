"""Formats of the results. Without heavy imports, because the command line lists the choices."""

from enum import Enum


class ResultFormat(str, Enum):
    """The format of the results."""

    CSV = "csv"
    PARQUET = "parquet"
