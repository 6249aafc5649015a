"""Fixtures and settings for all tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from support.mosquitto import mosquitto

__all__ = ["mosquitto"]

# The tests start the agent hundreds of times. Without bytecode, half of each start is compiling.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# A test that takes long on a busy machine is not thereby wrong.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("quick")

# A run in the background of a script has SIGINT ignored, and so would have every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

_TRAINING_TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raise the time-out of tests that compile networks, unless a test sets its own."""
    for item in items:
        if item.get_closest_marker("training") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TRAINING_TIMEOUT_S))
