"""What holds for all tests."""

import os
import signal
import sys
from pathlib import Path

from hypothesis import settings
from support.mosquitto import mosquitto

__all__ = ["mosquitto"]

# The tests start the agent hundreds of times. Without bytecode, half of each start is compiling.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# A test that takes long on a busy machine is not thereby wrong.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A run in the background of a script has SIGINT ignored, and so would have every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
