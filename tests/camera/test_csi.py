"""The CSI source with a mock of picamera2.

This proves colour order, shape, time stamps and cleanup as far as picamera2 does what its manual says. It cannot
prove that it does: that takes a Raspberry Pi.
"""

import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beeagent.camera import BadFrameError, CaptureFormat, SourceLostError
from beeagent.camera.csi import CsiInfo, CsiSource, find_csi_cameras, load_picamera2
from beeagent.camera.live import FreezeDetector
from beeagent.camera.pacing import MonotonicClock
from beeagent.camera.source import GrabbingSource
from beeagent.errors import InputError
from beeagent.runtime import build_source
from beeagent.settings import load_settings
from numpy.typing import NDArray

# What picamera2's manual says of the bytes of one pixel in memory.
MEMORY_ORDER = {"RGB888": "bgr", "BGR888": "rgb"}
SMALL = CaptureFormat(width=32, height=32)
ORANGE = {"r": 255, "g": 128, "b": 0}


class StandIn:
    """Stands in for the module: cameras in front of an orange wall."""

    def __init__(self, *, cameras: list[dict[str, Any]] | None = None) -> None:
        self.infos = (
            [{"Num": 0, "Model": "imx708", "Id": "/base/soc/i2c0mux/imx708@1a"}] if cameras is None else cameras
        )
        self.log: list[str] = []
        self.held = 0
        self.fail: dict[str, Exception] = {}
        self.block = threading.Event()
        self.block.set()
        self.configuration: dict[str, Any] = {}
        self.age_ns = 40_000_000
        stand_in = self

        class Picamera2:
            def __init__(self, camera_num: int) -> None:
                stand_in.step(f"open {camera_num}")

            @staticmethod
            def global_camera_info() -> list[dict[str, Any]]:
                return stand_in.infos

            def create_video_configuration(self, **options: object) -> dict[str, object]:
                return options

            def configure(self, configuration: dict[str, Any]) -> None:
                stand_in.configuration = configuration

            def start(self) -> None:
                stand_in.step("start")

            def capture_request(self) -> SimpleNamespace:
                stand_in.block.wait(30)
                stand_in.step("request")
                stand_in.held += 1
                return SimpleNamespace(
                    make_array=stand_in.make_array, get_metadata=stand_in.metadata, release=stand_in.release
                )

            def stop(self) -> None:
                stand_in.step("stop")

            def close(self) -> None:
                stand_in.step("close")

        self.Picamera2 = Picamera2

    def step(self, name: str) -> None:
        self.log.append(name)
        if name in self.fail:
            raise self.fail[name]

    def make_array(self, name: str) -> NDArray[np.uint8]:
        assert name == "main"
        if "array" in self.fail:
            raise self.fail["array"]
        width, height = self.configuration["main"]["size"]
        order = MEMORY_ORDER[self.configuration["main"]["format"]]
        return np.full((height, width, 3), [ORANGE[letter] for letter in order], dtype=np.uint8)

    def metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self.age_ns}

    def release(self) -> None:
        self.held -= 1


def open_csi(module: StandIn | None, number: int = 0, wanted: CaptureFormat = SMALL) -> CsiSource:
    return CsiSource(number, wanted=wanted, freeze=None, module=module)


def test_csi_frames_are_bgr_in_requested_size() -> None:
    module = StandIn()
    source = open_csi(module, wanted=CaptureFormat(width=640, height=480, fps=15))
    assert source.live
    assert isinstance(source, GrabbingSource)
    assert source.description == "csi:0 (imx708)"
    frame = source.read()
    assert frame is not None
    assert frame.pixels.shape == (480, 640, 3)
    assert frame.pixels[5, 5].tolist() == [ORANGE["b"], ORANGE["g"], ORANGE["r"]]
    assert module.configuration["controls"] == {"FrameDurationLimits": (66667, 66667)}


def test_other_size_than_requested_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(StandIn):
        def make_array(self, name: str) -> NDArray[np.uint8]:
            return super().make_array(name)[:, :24]

    with caplog.at_level("WARNING"):
        source = open_csi(Stubborn())
        source.read()
        source.read()
        open_csi(StandIn()).read()
        open_csi(StandIn(), wanted=CaptureFormat(fps=5)).read()
    (warning,) = caplog.messages
    assert warning.endswith("frames are 24x32, not 32x32 as set by camera_size")


def test_csi_default_size() -> None:
    module = StandIn()
    frame = open_csi(module, wanted=CaptureFormat()).read()
    assert frame is not None
    assert (frame.width, frame.height) == (1280, 720)
    assert module.configuration["controls"] == {}


def test_capture_time_is_sensor_time() -> None:
    module = StandIn()
    source = open_csi(module)
    before = time.monotonic_ns()
    frame = source.read()
    after = time.monotonic_ns()
    assert frame is not None
    # Captured 40 ms before it was delivered.
    assert before - module.age_ns - 1_000_000 <= frame.captured_ns <= after - module.age_ns + 1_000_000


@pytest.mark.parametrize("age_s", [-3600, 3600])
def test_implausible_sensor_time_is_replaced_by_arrival(age_s: int) -> None:
    module = StandIn()
    source = open_csi(module)
    module.age_ns = age_s * 10**9
    before = time.monotonic_ns()
    frame = source.read()
    assert frame is not None
    assert before <= frame.captured_ns <= time.monotonic_ns()


def test_csi_buffers_are_released_and_camera_closed_once() -> None:
    module = StandIn()
    source = open_csi(module)
    for _ in range(5):
        assert source.grab()
    assert module.held == 1
    source.retrieve()
    assert module.held == 0
    source.grab()
    source.close()
    source.close()
    assert module.held == 0
    assert module.log[-2:] == ["stop", "close"]
    assert module.log.count("close") == 1
    with pytest.raises(SourceLostError, match="was closed"):
        source.read()


def test_csi_close_during_blocked_read_is_deferred() -> None:
    module = StandIn()
    source = open_csi(module)
    module.block.clear()
    reading = threading.Event()

    def read() -> None:
        reading.set()
        source.grab()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert reading.wait(10)
    # The reader may not yet be inside: then closing takes effect at once, and reading is refused.
    source.close()
    module.block.set()
    reader.join(10)
    assert module.held == 0
    assert module.log.count("close") == 1


def test_missing_csi_camera_is_refused_with_cameras_found() -> None:
    with pytest.raises(InputError, match=r"camera csi:1: .* CSI cameras found: csi:0 \(imx708\)"):
        open_csi(StandIn(), 1)
    with pytest.raises(InputError, match="CSI cameras found: none"):
        open_csi(StandIn(cameras=[]))


def test_usb_cameras_of_libcamera_are_not_csi_cameras() -> None:
    module = StandIn(
        cameras=[
            {"Num": 0, "Model": "HD Webcam", "Id": "/base/scb/pcie@7d500000/usb@0,0-1.2:1.0-046d:0826"},
            {"Num": 1, "Model": "imx219", "Id": "/base/soc/i2c0mux/imx219@10"},
        ]
    )
    assert find_csi_cameras(module=module) == [CsiInfo(1, "imx219")]


@pytest.mark.parametrize("step", ["open 0", "start"])
def test_csi_camera_in_use_is_lost_not_refused(step: str) -> None:
    module = StandIn()
    module.fail[step] = RuntimeError("Camera __init__ sequence did not complete.")
    with pytest.raises(SourceLostError, match="did not complete"):
        open_csi(module)
    assert (step == "start") == ("close" in module.log)


def test_csi_failures_while_running() -> None:
    module = StandIn()
    source = open_csi(module)
    module.fail["array"] = ValueError("no")
    with pytest.raises(BadFrameError):
        source.read()
    assert module.held == 0
    module.fail["request"] = RuntimeError("camera has timed out")
    with pytest.raises(SourceLostError, match="timed out"):
        source.read()
    module.fail["stop"] = RuntimeError("gone")
    source.close()
    assert module.log[-1] == "close"


def test_frozen_csi_camera_is_lost() -> None:
    freeze = FreezeDetector(freeze_timeout=1e-9, clock=MonotonicClock())
    source = CsiSource(0, wanted=SMALL, freeze=freeze, module=StandIn())
    assert source.read() is not None
    with pytest.raises(SourceLostError, match="has not changed"):
        source.read()


def test_missing_picamera2_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(InputError, match="sudo apt install python3-picamera2"):
        load_picamera2()
    assert find_csi_cameras() == []
    with pytest.raises(InputError, match="python3-picamera2"):
        open_csi(None)


def test_settings_request_size_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "picamera2", module)  # type: ignore[arg-type] # which stands in for it
    settings = load_settings(
        {"camera": "csi:0", "camera_size": "640x480", "camera_fps": 5, "freeze_timeout": 0}, config=None
    )
    build_source(settings)().close()
    assert module.configuration["main"]["size"] == (640, 480)
    assert module.configuration["controls"] == {"FrameDurationLimits": (200_000, 200_000)}
