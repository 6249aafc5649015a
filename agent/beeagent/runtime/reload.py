"""Reload of the model and the places while the agent runs."""

import logging
import threading
from collections.abc import Callable

from beeagent.detection import ModelBundle
from beeagent.errors import BeeagentError
from beeagent.runtime.counting import Counting
from beeagent.runtime.factory import build_detectors, build_uncertainty, load_model
from beeagent.runtime.pipeline import Pipeline
from beeagent.runtime.threshold import PageThreshold
from beeagent.settings import Settings

_LOG = logging.getLogger(__name__)

RELOADED = ("model", "labels", "threshold", "tiles", "regions", "max_inference_rate")
"""Settings that take effect while the agent runs; all others require a restart."""


class Reload:
    """Reads the file of places again, and loads the model of the changed settings.

    The new model is verified and run once while the old one continues to process frames. If it works, the two are
    swapped; if not, the old one stays in use, and the problem is reported until a later reload succeeds. Places are
    handled in the same way.

    Args:
        settings: settings of the current model.
        bundle: the current model.
        load: reads the settings again.
        pipeline: pipeline that uses the model.
        counting: counting that uses the places; None without tracking.
        on_problem: called with the reason why a reload of the model failed, and with None after a success.
        threshold: threshold set on the page, if any.
        on_request: called at the beginning of each reload.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        settings: Settings,
        *,
        bundle: ModelBundle,
        load: Callable[[], Settings],
        pipeline: Pipeline,
        counting: Counting | None = None,
        on_problem: Callable[[str | None], None],
        threshold: PageThreshold,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._load = load
        self._pipeline = pipeline
        self._counting = counting
        self._on_problem = on_problem
        self._threshold = threshold
        self._on_request = on_request
        self._requested = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the model in use."""
        return self._settings

    def request(self) -> None:
        """Request a reload, which begins within half a second. Thread-safe, and safe in a signal handler."""
        self._requested.set()

    def start_if_requested(self) -> None:
        """Start a requested reload in a new thread, unless one is in progress. To be called on one thread only."""
        if self._requested.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._requested.clear()
            self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
            self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a reload in progress."""
        if self._thread is not None:
            self._thread.join(timeout)

    def set_threshold(self, threshold: float | None) -> None:
        """Change the threshold from the next frame on, also for later starts. Thread-safe.

        Args:
            threshold: threshold, 0 to 1; None for that of the settings or the model.

        Raises:
            BeeagentError: the threshold cannot be stored, and is not changed.
        """
        self._threshold.set(threshold, self._use_threshold)

    def _use_threshold(self, threshold: float) -> None:
        uncertainty = build_uncertainty(self._settings.replace(threshold=threshold), self._bundle)
        self._pipeline.detectors.set_threshold(threshold, uncertainty=uncertainty)
        if self._counting is not None:
            self._counting.set_threshold(threshold)

    def _run(self) -> None:
        self._on_request()
        if self._counting is not None:
            self._counting.reload()
        try:
            new = self._load()
            if new.model.measured:  # keep the numbers measured at the start
                new = new.replace(threads=self._settings.model.threads, workers=self._settings.model.workers)
            if late := sorted(new.differing(self._settings).difference(RELOADED)):
                _LOG.warning("changes of %s take effect when the agent is restarted", ", ".join(late))
            settings = self._settings.replace(**{name: new.value(name) for name in RELOADED})
            bundle = load_model(settings)
            model = build_detectors(self._threshold.settings_with(settings, bundle), bundle)
            self._pipeline.swap(model)
            self._settings = settings
            self._bundle = bundle
            self._use_threshold(self._threshold.value)
        except BeeagentError as error:
            self._on_problem(f"the new one is not used: {error}")
        else:
            _LOG.info("switched to model %s", model.identity)
            self._on_problem(None)
