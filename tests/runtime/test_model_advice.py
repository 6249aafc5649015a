"""The model recommendation by settings: when it is made, and for which frame rate."""

from pathlib import Path

import pytest
from beeagent import Settings, open_camera
from beeagent.detection import bundled_models, default_model
from beeagent.runtime import advisable_model, advise_model


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "bees-lite0"),
        ({"model": Path("bees-lite0")}, "bees-lite0"),
        ({"model": default_model()}, "bees-lite0"),
        ({"model": Path("mine.tflite")}, None),
        ({"regions": True}, None),
    ],
)
def test_only_bundled_models_are_compared(
    changed: dict[str, object], name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert advisable_model(Settings().replace(**changed)) == name


def test_lower_of_max_rate_and_camera_rate_is_wanted() -> None:
    with open_camera("synthetic:1280x720?live=no&frames=3&bees=14-14") as camera:
        frames = [frame.pixels for frame in camera]
    settings = Settings().replace(threads=1)
    for max_rate, camera_rate, wanted in ((1000.0, None, " of 1000, "), (None, 999.9, " of 999.9, ")):
        limited = settings.replace(max_rate=max_rate)
        advice = advise_model(limited, frames, current="bees-lite0", camera_rate=camera_rate)
        assert advice.model in bundled_models()
        assert wanted in advice.text
    limited = settings.replace(max_rate=0.01)
    assert (
        ", the others are dropped" not in advise_model(limited, frames, current="bees-lite0", camera_rate=1000.0).text
    )
