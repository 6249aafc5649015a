"""Detect bees, or what else a TFLite model detects, in images and camera frames, and publish the results over MQTT.

    from beeagent import Detector

    for detection in Detector.load().detect("hive.jpg"):
        print(detection.label, detection.confidence, detection.box)

The names in `__all__` are the public API; everything else may change without notice. They are imported on first use
(PEP 562): `import beeagent` itself loads neither NumPy nor OpenCV. Never imports `beeagent_models` or
`beeagent_export`, which may import this package.
"""

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Detection",
    "Detections",
    "Detector",
    "Frame",
    "InputError",
    "ModelBundle",
    "Settings",
    "open_camera",
]

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    from beeagent.camera import Frame, open_camera
    from beeagent.detection import Detection, Detections, Detector, ModelBundle
    from beeagent.errors import InputError
    from beeagent.runtime.agent import Agent
    from beeagent.settings import Settings
else:
    _MODULES = {
        "Agent": "runtime.agent",
        "Detection": "detection",
        "Detections": "detection",
        "Detector": "detection",
        "Frame": "camera",
        "InputError": "errors",
        "ModelBundle": "detection",
        "Settings": "settings",
        "open_camera": "camera",
    }

    def __getattr__(name):  # noqa: ANN001, ANN202 - not seen by type checkers
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - not at import

        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():  # noqa: ANN202 - likewise
        return sorted({*globals(), *__all__})
