"""`open_camera`: a context manager and iterator over the frames of any address."""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent import Detector, InputError, open_camera

SCENE = "synthetic:64x48?live=no"


@pytest.fixture
def threads() -> Callable[[], set[str]]:
    """Return the capture threads of this test; one that another test left behind may take a while to end."""
    before = set(threading.enumerate())
    return lambda: {
        thread.name for thread in threading.enumerate() if thread not in before and thread.name.startswith("capture")
    }


def test_every_frame_of_images_comes_in_order_and_the_iteration_ends(
    tmp_path: Path, threads: Callable[[], set[str]]
) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 12, 3), index, np.uint8))
    with open_camera(str(tmp_path)) as frames:
        found = list(frames)
    assert [(frame.index, frame.name, int(frame.pixels[0, 0, 0])) for frame in found] == [
        (index, f"{index}.png", index) for index in range(5)
    ]
    assert found[0].size == (12, 8)
    assert threads() == set()


def test_leaving_the_block_early_ends_its_threads(threads: Callable[[], set[str]]) -> None:
    with open_camera(SCENE) as frames:
        assert next(frames).index == 0
    assert threads() == set()
    assert len(list(frames)) <= 1, "what was read ahead"


def test_a_slow_reader_of_a_live_source_gets_the_newest_frame() -> None:
    detector = Detector.load()
    with open_camera("synthetic:64x48@240") as frames:
        before = next(frames).index
        for frame in frames:
            if frame.index > before + 1:
                break  # else the test's time-out
            assert frame.index == before + 1
            before = frame.index
            detector.detect(frame.pixels)


@pytest.mark.parametrize(
    ("address", "reason"), [("missing.mp4", "there is no such file"), ("synthetic:0x0", "synthetic"), ("", "camera")]
)
def test_an_invalid_address_is_refused(address: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason), open_camera(address):
        pass


def test_a_file_that_is_not_an_image_is_refused_at_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image", encoding="utf-8")
    with open_camera(str(tmp_path / "a.png")) as frames, pytest.raises(InputError, match=r"a\.png"):
        next(frames)
