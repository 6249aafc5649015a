"""The threshold in use: that of the model, of the settings, or of the page, which is stored for later starts."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.detection import ModelBundle
from beeagent.errors import BeeagentError
from beeagent.output import write_file
from beeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)

Source = Literal["model", "settings", "page"]
_Ratio = Annotated[float, Field(ge=0, le=1)]


class _Kept(BaseModel):
    """The content of the file `…threshold.json`.

    Attributes:
        threshold: threshold set on the page.
        model: name of the model at that time.
        configured: threshold of the settings at that time. A later change of the settings takes precedence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: _Ratio
    model: str
    configured: _Ratio | None


class PageThreshold:
    """The threshold of the agent, which the page may change while it runs.

    Thread-safe, except `settings_with`, which the agent calls when it loads a model.

    Args:
        path: path of the file in which it is stored; None to keep it in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = _read(path)
        self._model = ""
        self._of_model = 0.0
        self._configured: float | None = None

    def settings_with(self, settings: Settings, bundle: ModelBundle) -> Settings:
        """Return the settings with the threshold of the page, if it was set for this model and these settings."""
        with self._lock:
            self._model, self._of_model = bundle.identity.partition("@")[0], bundle.threshold
            self._configured = settings.model.threshold
            if self._kept is None:
                return settings
            if (self._kept.model, self._kept.configured) != (self._model, self._configured):
                _LOG.warning(
                    "threshold %g, set on the page, is ignored: it was set for another model or other settings",
                    self._kept.threshold,
                )
                self._kept = None
                return settings
            _LOG.info("threshold: %g, as set on the page", self._kept.threshold)
            return settings.replace(threshold=self._kept.threshold)

    @property
    def default(self) -> float:
        """The threshold without the page: that of the settings, or else of the model."""
        return self._of_model if self._configured is None else self._configured

    @property
    def value(self) -> float:
        """The threshold in use."""
        kept = self._kept
        return self.default if kept is None else kept.threshold

    @property
    def source(self) -> Source:
        """The source of the threshold in use."""
        if self._kept is not None:
            return "page"
        return "model" if self._configured is None else "settings"

    def set(self, value: float | None, apply: Callable[[float], None]) -> None:
        """Set the threshold of the page, or reset it to the default with None.

        Args:
            value: threshold, 0 to 1, or None.
            apply: called with the threshold to use from now on.

        Raises:
            BeeagentError: the threshold cannot be stored, and is not changed.
        """
        with self._lock:
            kept = None
            if value is not None:
                kept = _Kept(threshold=value, model=self._model, configured=self._configured)
            _write(self._path, kept)
            self._kept = kept
            apply(self.value)
        _LOG.info("threshold: %g, %s", self.value, "as set on the page" if kept else "reset to the default")

    def as_json(self, lowest: float) -> dict[str, Any]:
        """Return the threshold in the format of the page's API.

        Args:
            lowest: minimum confidence of a candidate.
        """
        return {
            "value": round(self.value, 4),
            "default": round(self.default, 4),
            "source": self.source,
            "lowest": round(lowest, 4),
        }


def _read(path: Path | None) -> _Kept | None:
    if path is None:
        return None
    try:
        return _Kept.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _LOG.warning(
            "threshold: %s cannot be read (%s): using the threshold of the settings", path, type(error).__name__
        )
        return None


def _write(path: Path | None, kept: _Kept | None) -> None:
    if path is None:
        return
    try:
        if kept is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, [kept.model_dump_json(indent=2).encode(), b"\n"])
    except OSError as error:
        raise BeeagentError(f"threshold: {path} cannot be written: {error.strerror or error}") from error
