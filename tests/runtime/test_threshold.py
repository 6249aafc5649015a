"""The threshold of the page: stored for a model and settings, and discarded when either changes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beeagent.detection.pool import CANDIDATES
from beeagent.errors import BeeagentError
from beeagent.runtime.factory import build_detectors, load_model
from beeagent.runtime.reload import Reload
from beeagent.runtime.threshold import PageThreshold
from beeagent.settings import load_settings
from support.beeagent_process import tiny_bare_model


def _bundle(identity: str = "bees@12345678", threshold: float = 0.65) -> Any:  # noqa: ANN401 - what is read of a bundle
    return SimpleNamespace(identity=identity, threshold=threshold)


def test_threshold_survives_a_restart(tmp_path: Path) -> None:
    path, applied = tmp_path / "state" / "threshold.json", []
    first = PageThreshold(path)
    assert first.settings_with(load_settings({}), _bundle()).model.threshold is None
    assert first.as_json(0.3) == {"value": 0.65, "default": 0.65, "source": "model", "lowest": 0.3}
    first.set(0.4, applied.append)
    second = PageThreshold(path)
    assert second.settings_with(load_settings({}), _bundle("bees@other567")).model.threshold == 0.4
    assert second.as_json(0.2) == {"value": 0.4, "default": 0.65, "source": "page", "lowest": 0.2}
    second.set(None, applied.append)
    assert applied == [0.4, 0.65]
    assert PageThreshold(path).settings_with(load_settings({}), _bundle()).model.threshold is None
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "identity", "value"),
    [({"threshold": 0.5}, "bees@12345678", 0.5), ({}, "wasps@12345678", None), ({"threshold": 0.8}, "bees@1", 0.8)],
)
def test_later_change_of_model_or_settings_holds(
    options: dict[str, Any], identity: str, value: float | None, tmp_path: Path
) -> None:
    before = PageThreshold(tmp_path / "threshold.json")
    before.settings_with(load_settings({}), _bundle())
    before.set(0.4, lambda _: None)
    after = PageThreshold(tmp_path / "threshold.json")
    assert after.settings_with(load_settings(options), _bundle(identity)).model.threshold == value
    assert after.source != "page"


@pytest.mark.parametrize("content", ["", "{}", '{"threshold": 7, "model": "bees", "configured": null}', "\0"])
def test_damaged_file_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "threshold.json").write_text(content, encoding="utf-8")
    threshold = PageThreshold(tmp_path / "threshold.json")
    assert threshold.settings_with(load_settings({}), _bundle()).model.threshold is None


def test_threshold_that_cannot_be_kept_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    threshold = PageThreshold(tmp_path / "state" / "threshold.json")
    threshold.settings_with(load_settings({}), _bundle())
    with pytest.raises(BeeagentError, match="cannot be written"):
        threshold.set(0.4, lambda _: pytest.fail("it was not kept"))
    assert threshold.value == 0.65


@pytest.mark.parametrize(("configured", "of_page", "used"), [(0.3, None, 0.3), (None, 0.8, 0.8), (0.3, 0.8, 0.8)])
def test_reload_uses_the_threshold_in_detectors_and_tracker(
    configured: float | None, of_page: float | None, used: float, tmp_path: Path
) -> None:
    """Regression: the tracker kept the threshold of the start."""
    _, model, _, labels = tiny_bare_model(tmp_path)
    settings = load_settings({"model": model, "labels": labels, "threads": 1, "page": True})
    bundle = load_model(settings)
    threshold = PageThreshold(None)
    pool = build_detectors(threshold.settings_with(settings, bundle), bundle)
    pipeline = SimpleNamespace(detectors=pool, swap=lambda model: setattr(pipeline, "detectors", model))
    of_tracker: list[float] = []
    problems: list[str | None] = []
    parts: dict[str, Any] = {
        "pipeline": pipeline,
        "counting": SimpleNamespace(set_threshold=of_tracker.append, reload=lambda: None),
    }
    reload = Reload(
        settings,
        bundle=bundle,
        load=lambda: settings.replace(threshold=configured),
        on_problem=problems.append,
        threshold=threshold,
        **parts,
    )
    reload.request()
    reload.start_if_requested()
    reload.join(60)
    if of_page is not None:
        reload.set_threshold(of_page)
    assert problems == [None]
    assert of_tracker[-1] == used
    assert pipeline.detectors is not pool
    assert (pipeline.detectors.threshold, pipeline.detectors.lowest) == (used, used * CANDIDATES)
