"""What holds for all tests."""

from hypothesis import settings
from mosquitto import mosquitto

__all__ = ["mosquitto"]

# A test that takes long on a busy machine is not thereby wrong.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
