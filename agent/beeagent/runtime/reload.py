"""Puts another model into the running agent."""

import logging
import threading
from collections.abc import Callable

from beeagent.detection import DetectorPool
from beeagent.errors import BeeagentError
from beeagent.runtime.factory import chosen_bundle, loaded_model
from beeagent.settings import Settings

_LOG = logging.getLogger(__name__)

RELOADED = ("model", "labels", "threshold", "tiles")
"""The settings that take effect while the agent runs; all others, when it is started again."""


class ModelReload:
    """Loads the model of changed settings beside the one that runs, and swaps the two if it can be used.

    The new model's hash is checked and it is run once, while the old one goes on looking. What fails leaves the old
    one in its place, and is told as trouble until a later reload succeeds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        swap: Callable[[DetectorPool], None],
        on_trouble: Callable[[str | None], None],
    ) -> None:
        """Describe the reload; nothing happens before `start`.

        Args:
            settings: what the agent runs with.
            load: reads the settings anew.
            swap: puts a model in place of the one that runs.
            on_trouble: told why a reload failed, and with None of one that did not.
        """
        self._settings = settings
        self._load = load
        self._swap = swap
        self._on_trouble = on_trouble
        self._asked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    @property
    def settings(self) -> Settings:
        """The settings of the model that is in use."""
        return self._settings

    def start(self) -> None:
        """Begin to wait for requests."""
        self._thread.start()

    def request(self) -> None:
        """Ask for a reload, soon. Safe from any thread and from a signal handler."""
        self._asked.set()

    def stop(self, timeout: float) -> bool:
        """Take no more requests; say whether one under way ended within `timeout` seconds."""
        self._stopping = True
        self._asked.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._stopping:
                return
            try:
                self._reload()
            except BeeagentError as error:
                self._on_trouble(f"the new one is not used: {error}")
            else:
                self._on_trouble(None)

    def _reload(self) -> None:
        new = self._load()
        if late := sorted(new.differing(self._settings).difference(RELOADED)):
            _LOG.warning("changes of %s take effect when the agent is started again", ", ".join(late))
        wanted = self._settings.replace(**{name: new.value(name) for name in RELOADED})
        model = loaded_model(wanted, chosen_bundle(wanted))
        self._swap(model)
        self._settings = wanted
        _LOG.info("from the next frame on, %s looks", model.identity)
