"""What holds for all tests."""

import signal

from hypothesis import settings
from support.mosquitto import mosquitto

__all__ = ["mosquitto"]

# A test that takes long on a busy machine is not thereby wrong.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A run in the background of a script has SIGINT ignored, and so would have every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
