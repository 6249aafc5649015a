"""Data outside the repository: beside the checkout, or in BEEAGENT_SHARED_DATA."""

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """Return the path of a file of the shared data; without it, skip the test."""
    folder = Path(os.environ.get("BEEAGENT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / name
    if not path.is_file():
        pytest.skip(f"needs {name}, which is not in {folder} (set BEEAGENT_SHARED_DATA)")
    return path
