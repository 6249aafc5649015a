import numpy as np
import pytest
from beeagent.camera.live import FreezeDetector, brightness


class FakeClock:
    time = 50.0

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: object, seconds: float) -> None:
        raise NotImplementedError


def test_unchanged_image_is_frozen_after_timeout() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    image = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    assert not freeze.is_frozen(image)
    clock.time += 4.9
    assert not freeze.is_frozen(image.copy())
    clock.time += 0.1
    assert freeze.is_frozen(image.copy())


def test_noisy_sensor_is_never_frozen() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    rng = np.random.default_rng(2)
    dark = np.full((720, 1280, 3), 2, dtype=np.uint8)
    for _ in range(20):
        clock.time += 1
        # An image at night: one sample in a thousand differs by one.
        noisy = dark + (rng.random(dark.shape) < 0.001).astype(np.uint8)
        assert not freeze.is_frozen(noisy)


def test_freeze_timeout_restarts_at_each_change() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    still = np.zeros((64, 64, 3), dtype=np.uint8)
    freeze.is_frozen(still)
    clock.time += 4
    freeze.is_frozen(still + 1)
    clock.time += 4
    assert not freeze.is_frozen(still + 1)
    clock.time += 1
    assert freeze.is_frozen(still + 1)


def test_change_of_size_is_a_change() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    freeze.is_frozen(np.zeros((64, 32, 3), dtype=np.uint8))
    clock.time += 9
    assert not freeze.is_frozen(np.zeros((32, 64, 3), dtype=np.uint8))


def test_source_reopened_after_freeze_has_one_second_to_change() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    still = np.zeros((64, 64, 3), dtype=np.uint8)
    freeze.is_frozen(still)
    clock.time += 5
    assert freeze.is_frozen(still)
    clock.time += 60
    freeze.begin()
    clock.time += 0.9
    assert not freeze.is_frozen(still)
    assert freeze.frozen
    clock.time += 0.1
    assert freeze.is_frozen(still)
    assert not freeze.is_frozen(still + 1)
    assert not freeze.frozen
    clock.time += 4.9
    assert not freeze.is_frozen(still + 1)


def test_time_before_opening_does_not_count() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock)
    still = np.zeros((64, 64, 3), dtype=np.uint8)
    freeze.is_frozen(still)
    clock.time += 60
    freeze.begin()
    clock.time += 1
    assert not freeze.is_frozen(still)


@pytest.mark.parametrize("freeze_timeout", [0, -1, float("nan")])
def test_invalid_freeze_timeout_is_refused(freeze_timeout: float) -> None:
    with pytest.raises(ValueError, match="freeze_timeout"):
        FreezeDetector(freeze_timeout=freeze_timeout, clock=FakeClock())


def test_black_image_is_not_frozen_where_darkness_is_expected() -> None:
    clock = FakeClock()
    freeze = FreezeDetector(freeze_timeout=5, clock=clock, dark=16)
    for level, frozen in ((0, False), (16, False), (17, True)):
        image = np.full((64, 64, 3), level, dtype=np.uint8)
        freeze.is_frozen(image)
        clock.time += 9
        assert freeze.is_frozen(image) is frozen
    assert not freeze.is_frozen(np.zeros((64, 64, 3), dtype=np.uint8))
    assert not freeze.frozen


def test_brightness_is_the_mean_of_all_values() -> None:
    image = np.zeros((720, 1280, 3), dtype=np.uint8)
    image[:360] = (30, 60, 90)
    assert brightness(image) == pytest.approx(30, abs=1)
