"""Runs the agent as a Greengrass component: set up by deployments, and changed by them while it runs."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from beeagent.agent import Agent
from beeagent.choices import chosen_bundle, chosen_source
from beeagent.config import Settings
from beeagent.delivery.broker_url import Embedded, parse_broker
from beeagent.errors import BeeagentError, InputError
from beeagent.log import configure_log
from beeagent.model_reload import RELOADED, ModelReload
from beeagent.nucleus.address import THING_VARIABLE, nucleus_address
from beeagent.publisher_choice import chosen_publisher
from beeagent.run import leave_at_once, on_signals, run_until, stopping

if TYPE_CHECKING:
    from beeagent.nucleus.connection import NucleusConnection

_LOG: Final = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_ASK_AGAIN_AFTER_S: Final = 5.0
_ENDS_WITHIN_S: Final = 0.5
_PART: Final = "configuration"


def run_component(options: Mapping[str, Any]) -> None:
    """Run the agent with the component's configuration, until its camera ends or SIGINT or SIGTERM comes.

    Args:
        options: what the command line gave, by key; it wins over the configuration.

    Raises:
        InputError: no nucleus has started this process, or the first configuration cannot be used.
        BeeagentError: a stage failed, or the nucleus does not know this process any more.
    """
    address = nucleus_address(os.environ)
    try:
        from beeagent.nucleus.connection import NucleusConnection  # noqa: PLC0415 - its package is an extra
    except ImportError as error:
        raise InputError(
            f"--greengrass needs {error.name}, which is not installed: pip install 'beeagent[greengrass]'"
        ) from error
    configure_log("text")
    component = _Component(options)
    nucleus = NucleusConnection(address, on_expelled=component.expel)
    with on_signals(stopping(component.stop)):
        nucleus.start()
        try:
            ended = component.run(nucleus)
        finally:
            nucleus.close(_ENDS_WITHIN_S)
    if component.expelled is not None:
        _LOG.error("%s", component.expelled)
        if not ended:
            leave_at_once(1)
        raise BeeagentError(component.expelled)
    if not ended:
        leave_at_once(0)


class _Component:
    """One agent after the other, each with the settings of its time.

    A change of the model alone is made while an agent looks. For any other, the agent ends in order and another one
    takes its place in this process, since no nucleus starts a component anew because its configuration was changed.
    Where the new settings cannot work, the old ones stay, and the status says why.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._stop = threading.Event()
        self._life = threading.Event()  # set to end the agent of now
        self._lock = threading.Lock()  # of what follows, which the thread of the deployments uses too
        self._next: Settings | None = None
        self._trouble: str | None = None
        self._agent: Agent | None = None
        self._reload: ModelReload | None = None
        self._looked = 0  # frames that the last agent looked at
        self.expelled: str | None = None

    def stop(self) -> None:
        """Make `run` return soon. Safe from a signal handler."""
        self._stop.set()
        self._life.set()

    def expel(self, reason: str) -> None:
        """Make `run` return soon, since the nucleus will never let this process in again."""
        self.expelled = reason
        self.stop()

    def run(self, nucleus: "NucleusConnection") -> bool:
        """Run agents, and say whether every thread of theirs has ended."""
        from beeagent.nucleus.configuration import ComponentConfiguration  # noqa: PLC0415 - its package is an extra
        from beeagent.nucleus.deployments import Deployments  # noqa: PLC0415 - as above

        self._nucleus = nucleus
        thing = os.environ.get(THING_VARIABLE)
        self._configuration = ComponentConfiguration(nucleus, options=self._options, thing=thing)
        settings = self._first_settings()
        if settings is None:
            return True
        self._running = self._wanted = settings
        deployments = Deployments(
            nucleus,
            on_configuration=self._read_configuration,
            objection=self._objection,
            may_stop=lambda: (agent := self._agent) is None or not agent.delivering,
        )
        deployments.start()
        try:
            return self._run_agents(settings)
        finally:
            deployments.stop(_ENDS_WITHIN_S)

    def _first_settings(self) -> Settings | None:
        """Wait for the nucleus, and read the configuration; None if told to stop meanwhile."""
        while not self._stop.is_set():
            if not self._nucleus.wait_connected(_LOOK_EVERY_S):
                continue
            try:
                return self._configuration.load()
            except InputError:
                raise
            except BeeagentError as error:
                _LOG.warning("the configuration is not to be had: %s; trying again", error)
                self._stop.wait(_ASK_AGAIN_AFTER_S)
        return None

    def _run_agents(self, settings: Settings) -> bool:
        ended, good = True, None
        while True:
            with self._lock:
                self._life = threading.Event()
                self._running, self._next, self._looked = settings, None, 0
            if self._stop.is_set():
                return ended
            configure_log(settings.log_format)
            try:
                load = self._configuration.load
                ended &= run_until(self._life, settings, load, nucleus=self._nucleus, during=self._during)
            except BeeagentError as error:
                if good is None or settings is good or self._looked:
                    raise
                self._refuse(error)
                settings = good
                continue
            with self._lock:
                if self._next is None or self._stop.is_set():
                    return ended
                good, settings = settings, self._next

    @contextmanager
    def _during(self, agent: Agent, reload: ModelReload) -> Iterator[None]:
        with self._lock:
            self._agent, self._reload = agent, reload
            if self._trouble is not None:
                agent.note_trouble(_PART, self._trouble)
        try:
            yield
        finally:
            with self._lock:
                self._agent, self._reload, self._looked = None, None, agent.health.frames

    # What the thread of the deployments calls.

    def _read_configuration(self) -> None:
        try:
            new = self._configuration.load()
            changed = new.differing(self._next or self._running)
            if changed and not new.differing(self._wanted):
                return  # it was tried, and could not be used
            if not changed <= set(RELOADED):
                self._check(new)
        except InputError as error:
            self._refuse(error)
            return
        self._wanted = new
        self._set_trouble(None)
        if not changed:
            return
        _LOG.info("going on with a new configuration (%s)", ", ".join(sorted(changed)))
        with self._lock:
            if changed <= set(RELOADED) and self._reload is not None:
                self._running = new
                self._reload.request()
            else:
                self._next = new
                self._life.set()

    def _objection(self, configuration: Mapping[str, Any]) -> str | None:
        try:
            self._check(self._configuration.without_secrets(configuration))
        except BeeagentError as error:
            _LOG.warning("a deployment's configuration is rejected: %s", error)
            return str(error)
        return None

    def _check(self, settings: Settings) -> None:
        """Find what is wrong with settings, as far as that can be seen while others are in use."""
        if settings.camera is not None:
            chosen_source(settings)
        if not isinstance(parse_broker(settings.broker), Embedded):
            chosen_publisher(settings, broker=None, nucleus=self._nucleus, last_will=lambda: b"")
        chosen_bundle(settings)

    def _refuse(self, error: BeeagentError) -> None:
        _LOG.error("the new configuration is not used: %s", error)
        self._set_trouble(f"the new one is not used: {error}")

    def _set_trouble(self, trouble: str | None) -> None:
        with self._lock:
            self._trouble = trouble
            if self._agent is not None:
                self._agent.note_trouble(_PART, trouble)
