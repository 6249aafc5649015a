"""Detect bees, or other objects of a TFLite model, in images and camera frames, and publish the results over MQTT.

    from beeagent import Detector

    for detection in Detector.load().detect("hive.jpg"):
        print(detection.label, detection.confidence, detection.box)

The names in `__all__` are the public API; everything else may change without notice. They are imported on first use
(PEP 562): `import beeagent` itself loads neither NumPy nor OpenCV. This package does not import `beeagent_models` or
`beeagent_export`, which import it.
"""

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from beeagent.camera import Frame, open_camera
    from beeagent.detection import Detection, Detections, Detector, ModelBundle
    from beeagent.errors import InputError
    from beeagent.runtime import Agent
    from beeagent.settings import Settings

__version__ = "0.2.0"

__all__ = [
    "Agent", "Detection", "Detections", "Detector", "Frame", "InputError", "ModelBundle", "Settings", "open_camera",
]  # fmt: skip


def lazy_exports(package: str, modules: "Mapping[str, tuple[str, ...]]") -> "Callable[[str], object]":
    """Return the `__getattr__` of a package whose public names are imported on first use (PEP 562).

    Args:
        package: `__name__` of the package.
        modules: public names by module.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - not at import

        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return get


if not TYPE_CHECKING:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "camera": ("Frame", "open_camera"),
            "detection": ("Detection", "Detections", "Detector", "ModelBundle"),
            "errors": ("InputError",),
            "runtime": ("Agent",),
            "settings": ("Settings",),
        },
    )

    def __dir__():  # noqa: ANN202 - not seen by type checkers
        return sorted({*globals(), *__all__})
