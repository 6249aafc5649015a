import os
import sys
from pathlib import Path

import cv2
import pytest
from beeagent.camera import (
    Cameras,
    FrameSource,
    SourceLostError,
    SourceOpener,
    SourceOptions,
    is_live,
    open_source,
    parse_camera,
)
from beeagent.camera.csi import CsiInfo
from beeagent.camera.v4l2 import Capability
from beeagent.errors import InputError
from support.mjpeg_server import MjpegServer
from support.numbered_frames import number_in, numbered_image, write_video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a video and images in it."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "bees.mp4", 7)
    (tmp_path / "night").mkdir()
    for number in range(7):
        cv2.imwrite(f"night/{number}.png", numbered_image(number))
    cv2.imwrite("0.png", numbered_image(0))
    return tmp_path


def numbers_of(source: FrameSource) -> list[int]:
    numbers = []
    while (frame := source.read()) is not None:
        numbers.append(number_in(frame.pixels))
    return numbers


@pytest.mark.parametrize("realtime", [False, True], ids=["fast", "realtime"])
@pytest.mark.parametrize(
    ("text", "count"), [("bees.mp4", 7), ("night", 7), ("night/*.png", 7), ("0.png", 1), ("night/[0-2].png", 3)]
)
@pytest.mark.usefixtures("folder")
def test_open_files_folders_and_patterns(text: str, count: int, realtime: bool) -> None:  # noqa: FBT001 - parametrised
    address = parse_camera(text)
    source = open_source(address, SourceOptions(realtime=realtime))
    assert source.live is realtime is is_live(address, realtime=realtime)
    assert source.description == text
    assert numbers_of(source) == list(range(count))


@pytest.mark.parametrize(
    ("live", "text"), [(True, "synthetic:64x48@200?frames=3"), (False, "synthetic:64x48?live=no&frames=3")]
)
def test_open_synthetic_scene(live: bool, text: str) -> None:  # noqa: FBT001 - parametrised
    source = open_source(parse_camera(text), SourceOptions())
    assert source.live is live
    frames = []
    while (frame := source.read()) is not None:
        frames.append((frame.width, frame.height))
    assert frames == [(64, 48)] * 3


def test_open_stream() -> None:
    with MjpegServer() as server:
        source = open_source(parse_camera(server.url), SourceOptions())
        assert source.live
        assert source.read() is not None
        source.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", r"camera 7: /nowhere/video7 does not exist; cameras found: csi:0 \(imx708\)"),
        ("/dev/null", r"camera /dev/null is not a video device; cameras found: csi:0 \(imx708\)"),
        ("/dev/video99", "camera /dev/video99 does not exist"),
        ("empty", "folder empty: contains no images"),
        ("*.jpg", r"pattern \*\.jpg: matches no file"),
        ("fake.mp4", "video fake.mp4: is not a video"),
        ("fake.png", "fake.png: is not an image"),
    ],
)
def test_missing_or_wrong_camera_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "fake.mp4").write_text("no video")
    (folder / "fake.png").write_text("no image")
    cameras = Cameras(device_folder=Path("/nowhere"), csi=lambda: [CsiInfo(0, "imx708")])
    with pytest.raises(InputError, match=message):
        open_source(parse_camera(text), SourceOptions(), cameras=cameras)


def test_frozen_camera_reopens_only_once_its_image_changes() -> None:
    with MjpegServer() as server:
        opener = SourceOpener(parse_camera(server.url), SourceOptions(freeze_timeout=0.3))
        server.repeat_itself()
        source = opener()
        with pytest.raises(SourceLostError, match=r"has not changed for 0\.3 s"):
            numbers_of(source)
        with pytest.raises(SourceLostError, match=r"has not changed for 0\.3 s"):
            opener()
        server.repeat_itself(times=5)
        source = opener()
        frame = source.read()
        source.close()
    assert frame is not None
    assert number_in(frame.pixels) != 1


def test_csi_camera_needs_picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    cameras = Cameras(device_folder=Path("/nowhere"), csi=lambda: [CsiInfo(0, "imx708")])
    # A number leads to the CSI camera where there is no V4L2 camera.
    for text in ("0", "csi"):
        with pytest.raises(InputError, match="python3-picamera2"):
            open_source(parse_camera(text), SourceOptions(), cameras=cameras)


def test_busy_camera_is_lost_not_refused(tmp_path: Path) -> None:
    # A node that says it is a camera, and then does not answer like one.
    node = tmp_path / "video0"
    os.mkfifo(node)
    camera = Capability("uvcvideo", "HD Webcam", "usb-1", 0x84A00001, 0x04200001)
    cameras = Cameras(query=lambda _: camera, device_folder=tmp_path, csi=list)
    with pytest.raises(SourceLostError, match=r"video0 \(HD Webcam\): cannot be opened; another program"):
        open_source(parse_camera("0"), SourceOptions(), cameras=cameras)


def test_invalid_freeze_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="freeze_timeout"):
        SourceOptions(freeze_timeout=0)
