import os
import socket
import string
from pathlib import Path

import pytest
from beeagent.camera import (
    CameraAddress,
    CsiAddress,
    DeviceAddress,
    FolderAddress,
    ImageAddress,
    NumberAddress,
    PatternAddress,
    StreamAddress,
    SyntheticAddress,
    VideoAddress,
    is_live,
    parse_camera,
)
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.errors import InputError
from beeagent.output import redacted
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0", NumberAddress(0)),
        ("12", NumberAddress(12)),
        ("/dev/video0", DeviceAddress(Path("/dev/video0"))),
        ("/dev/v4l/by-id/usb-cam-index0", DeviceAddress(Path("/dev/v4l/by-id/usb-cam-index0"))),
        ("csi", CsiAddress(0)),
        ("csi:1", CsiAddress(1)),
        ("rtsp://cam.local/stream", StreamAddress("rtsp://cam.local/stream")),
        ("RTSP://cam.local/stream", StreamAddress("rtsp://cam.local/stream")),
        ("rtsps://[fd00::1]:8554/a?b=c", StreamAddress("rtsps://[fd00::1]:8554/a?b=c")),
        ("http://10.0.0.7:8080/video", StreamAddress("http://10.0.0.7:8080/video")),
        ("https://u:p%40ss@cam.local/", StreamAddress("https://u:p%40ss@cam.local/")),
        ("nowhere/*.jpg", PatternAddress("nowhere/*.jpg")),
        ("nowhere/bee[0-9]?.png", PatternAddress("nowhere/bee[0-9]?.png")),
        ("synthetic", SyntheticAddress(SceneOptions())),
        ("synthetic:", SyntheticAddress(SceneOptions())),
        ("synthetic:640x480", SyntheticAddress(SceneOptions(width=640, height=480))),
        ("synthetic:@7.5", SyntheticAddress(SceneOptions(fps=7.5))),
        ("synthetic:?seed=3", SyntheticAddress(SceneOptions(seed=3))),
        (
            "synthetic:1280x720@30?seed=3&bees=2-10&length=0.05-0.1&live=no&frames=100",
            SyntheticAddress(
                SceneOptions(width=1280, height=720, fps=30, seed=3, bees=(2, 10), bee_length=(0.05, 0.1)),
                live=False,
                frames=100,
            ),
        ),
        ("synthetic:?bees=4&length=0.1", SyntheticAddress(SceneOptions(bees=(4, 4), bee_length=(0.1, 0.1)))),
    ],
)
def test_parse_each_kind_of_address(text: str, address: CameraAddress) -> None:
    assert parse_camera(text) == address


def test_parse_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.AVI", "c.jpg", "d.PNG", "eins[1].png", "0", "csi"):
        Path(name).touch()
    Path("night").mkdir()
    os.mkfifo("pipe.mjpeg")
    assert parse_camera("a.mp4") == VideoAddress(Path("a.mp4"))
    assert parse_camera("b.AVI") == VideoAddress(Path("b.AVI"))
    assert parse_camera("c.jpg") == ImageAddress(Path("c.jpg"))
    assert parse_camera("./d.PNG") == ImageAddress(Path("d.PNG"))
    assert parse_camera("night") == FolderAddress(Path("night"))
    assert parse_camera("pipe.mjpeg") == VideoAddress(Path("pipe.mjpeg"))
    # A file of that very name comes before a pattern.
    assert parse_camera("eins[1].png") == ImageAddress(Path("eins[1].png"))
    assert parse_camera("eins[12].png") == PatternAddress("eins[12].png")
    # A word comes before a file; the file is meant by a path.
    assert parse_camera("0") == NumberAddress(0)
    assert parse_camera("csi") == CsiAddress(0)
    with pytest.raises(InputError, match="does not end like"):
        parse_camera("./csi")


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bees.mp4").touch()
    assert parse_camera("~/bees.mp4") == VideoAddress(tmp_path / "bees.mp4")


def test_character_device_outside_dev_is_a_device(tmp_path: Path) -> None:
    link = tmp_path / "camera"
    link.symlink_to("/dev/null")
    assert parse_camera(str(link)) == DeviceAddress(link)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing was given"),
        ("  ", "nothing was given"),
        ("-1", "no such file"),
        ("12345", "no camera of this number"),
        ("nowhere.mp4", "'nowhere.mp4': there is no such file"),
        ("csi:x", "csi: takes"),
        ("csi:", "csi: takes"),
        ("ftp://cam/", "'ftp://cam/': addresses of this kind"),
        ("rtsp://", "no host"),
        ("rtsp:///path", "no host"),
        ("rtsp://cam:port/", "no host, or an invalid port"),
        ("rtsp://cam:99999/", "no host, or an invalid port"),
        ("rtsp://[::1/", "no host"),
        ("http://cam /x", "space or control"),
        ("http://cam/x\n", "space or control"),
        ("a\0b.mp4", "no such file"),
        ("x" * 5000, "no such file"),
        ("~nosuchuser/x.mp4", "no such file"),
        ("synthetic640x480", "no such file"),
        ("synthetic:640", "write it like synthetic"),
        ("synthetic:640x", "write it like synthetic"),
        ("synthetic:640x480x3", "write it like synthetic"),
        ("synthetic:640x480?", "write it like synthetic"),
        ("synthetic:?sed=3", "unknown setting 'sed'; use seed, bees"),
        ("synthetic:?seed=3&seed=4", "seed is given twice"),
        ("synthetic:?seed=x", "seed is 'x'; use a whole number"),
        ("synthetic:?bees=2-", "bees is '2-'"),
        ("synthetic:?bees=9-2", "the smaller number first"),
        ("synthetic:8x8", "width is 8"),
        ("synthetic:@0", "fps is 0"),
        ("synthetic:?length=7", "bee_length is 7"),
        ("synthetic:?live=maybe", "live is 'maybe'; use yes or no"),
        ("synthetic:?frames=0", "frames is '0'"),
    ],
)
def test_invalid_address_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as refusal:
        parse_camera(text)
    assert "\n" not in str(refusal.value)


def test_file_of_unknown_type_is_refused_with_known_suffixes(tmp_path: Path) -> None:
    # FFmpeg would play this as a video of its text.
    (tmp_path / "notes.txt").write_text("not a video\n" * 100)
    with pytest.raises(InputError, match=r"does not end like that of a video or an image .*\.mp4"):
        parse_camera(str(tmp_path / "notes.txt"))


def test_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(InputError, match="does not end like"):
            parse_camera(str(tmp_path / "s"))


SECRET = st.text(alphabet=string.ascii_uppercase + "/?#@:%&= ", min_size=1, max_size=12).map(lambda s: f"QX{s}ZK")


@given(
    scheme=st.sampled_from(["rtsp", "rtsps", "http", "https", "rtps", "ftp", ""]),
    password=SECRET,
    host=st.sampled_from(["cam.local", "10.0.0.7", "[fd00::1]"]),
    rest=st.sampled_from(["", "/", ":554/a/b", ":99999/", "/a?size=1"]),
)
@example(scheme="rtsp", password="QX1/2@3?ZK", host="cam.local", rest="")  # noqa: S106 - made up
@example(scheme="", password="QX://ZK", host="cam.local", rest="")  # noqa: S106 - made up
def test_password_is_never_shown(scheme: str, password: str, host: str, rest: str) -> None:
    text = f"{scheme}://user:{password}@{host}{rest}" if scheme else f"user:{password}@{host}{rest}"
    try:
        address = parse_camera(text)
    except InputError as refusal:
        shown = f"{refusal} {refusal.__cause__} {refusal!r}"
    else:
        assert isinstance(address, StreamAddress)
        assert address.url == text
        shown = f"{address} {address!r} {address.description}"
    assert "QX" not in shown
    assert "ZK" not in shown


@given(st.text(alphabet=string.ascii_letters, min_size=1, max_size=20))
def test_query_is_redacted(secret: str) -> None:
    url = f"http://cam.local:80/video.cgi?user=a&pwd=<{secret}>#<{secret}>"
    assert redacted(url) == "http://cam.local:80/video.cgi?***"


@given(st.text())
def test_any_text_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        said = parse_camera(text).description
    except InputError as refusal:
        said = str(refusal)
        lines = len(said.splitlines())
    else:
        lines = 1
    assert said
    assert lines == 1


SCENES = st.builds(
    SceneOptions,
    width=st.integers(16, 8192),
    height=st.integers(16, 8192),
    fps=st.integers(1, 1000),
    seed=st.integers(0, 2**31),
    bees=st.tuples(st.integers(0, 100), st.integers(100, 200)),
)


@given(st.builds(SyntheticAddress, SCENES, live=st.booleans(), frames=st.none() | st.integers(1, 10**6)))
def test_synthetic_address_round_trip(address: SyntheticAddress) -> None:
    scene = address.scene
    text = f"synthetic:{scene.width}x{scene.height}@{scene.fps}?seed={scene.seed}&bees={scene.bees[0]}-{scene.bees[1]}"
    text += f"&live={'yes' if address.live else 'no'}"
    if address.frames is not None:
        text += f"&frames={address.frames}"
    assert parse_camera(text) == address


def test_address_without_scheme_is_not_a_pattern() -> None:
    with pytest.raises(
        InputError, match=r"'\*\*\*@\[fd00::1\]': there is no such file, and an address begins with rtsp"
    ):
        parse_camera("user:secret@[fd00::1]")


CAMERAS = [
    NumberAddress(0),
    DeviceAddress(Path("/dev/video0")),
    CsiAddress(),
    StreamAddress("rtsp://cam/"),
    SyntheticAddress(SceneOptions()),
]
FILES = [
    VideoAddress(Path("a.mp4")),
    ImageAddress(Path("a.jpg")),
    FolderAddress(Path("a")),
    PatternAddress("*.jpg"),
]


@pytest.mark.parametrize("address", CAMERAS)
def test_cameras_are_always_live(address: CameraAddress) -> None:
    assert is_live(address, realtime=True)
    assert is_live(address, realtime=False)


@pytest.mark.parametrize("address", FILES)
def test_files_are_live_only_in_realtime(address: CameraAddress) -> None:
    assert is_live(address, realtime=True)
    assert not is_live(address, realtime=False)


def test_synthetic_scene_with_live_no_is_not_live() -> None:
    assert not is_live(SyntheticAddress(SceneOptions(), live=False), realtime=True)
