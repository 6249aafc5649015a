"""Runs the agent as a Greengrass component: set up by deployments, and changed by them while it runs."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from beeagent.errors import BeeagentError, InputError
from beeagent.greengrass.address import THING_VARIABLE, nucleus_address
from beeagent.greengrass.kept_settings import KeptConfiguration
from beeagent.log import configure_log
from beeagent.mqtt.broker_url import Embedded, parse_broker
from beeagent.runtime.agent import Agent
from beeagent.runtime.factory import chosen_bundle, chosen_source
from beeagent.runtime.publisher_factory import chosen_publisher
from beeagent.runtime.reload import RELOADED, ModelReload
from beeagent.runtime.run import leave_at_once, on_signals, run_until, stopping
from beeagent.settings import Settings
from beeagent.thread_guard import ThreadFailedError, ThreadGuard

if TYPE_CHECKING:
    from beeagent.greengrass.configuration import ComponentConfiguration, Configured
    from beeagent.greengrass.ipc import NucleusConnection

_LOG: Final = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_ASK_AGAIN_AFTER_S: Final = 5.0
_ENDS_WITHIN_S: Final = 0.5
_PART: Final = "configuration"


def run_component(options: Mapping[str, Any]) -> None:
    """Run the agent with the component's configuration, until its camera ends or SIGINT or SIGTERM comes.

    Where that cannot be used, it runs with the last one that worked, and its status says why.

    Args:
        options: what the command line gave, by key; it wins over the configuration.

    Raises:
        InputError: no nucleus has started this process, or the configuration cannot be used and none is kept.
        BeeagentError: a stage failed, or the nucleus does not know this process any more.
    """
    address = nucleus_address(os.environ)
    try:
        from beeagent.greengrass.configuration import ComponentConfiguration  # noqa: PLC0415 - its package is an extra
        from beeagent.greengrass.ipc import NucleusConnection  # noqa: PLC0415 - as above
    except ImportError as error:
        raise InputError(
            f"--greengrass needs {error.name}, which is not installed: pip install 'beeagent[greengrass]'"
        ) from error
    configure_log("text")
    end = _End()
    nucleus = NucleusConnection(address, on_expelled=end.expel)
    configuration = ComponentConfiguration(nucleus, options=options, thing=os.environ.get(THING_VARIABLE))
    kept = KeptConfiguration(configuration.settings({}).state_folder())
    ended = True
    with on_signals(stopping(end.come)), ThreadGuard(lambda _: end.come()):
        nucleus.start()
        try:
            first = _first_configuration(nucleus, configuration, kept, end)
            if first is not None:
                ended = _Component(first, nucleus, configuration, kept, end).run()
        finally:
            nucleus.close(_ENDS_WITHIN_S)
    if end.expelled is not None and ended:
        raise BeeagentError(end.expelled)
    if not ended:
        leave_at_once(0 if end.expelled is None else 1)


class _End:
    """When it is to be over, for good or for the agent of now."""

    def __init__(self) -> None:
        self.has_come = threading.Event()
        self.of_life = threading.Event()
        self.expelled: str | None = None
        """Why the nucleus will never let this process in again; None where it may."""

    def come(self) -> None:
        """Let it be over for good. Safe from a signal handler."""
        self.has_come.set()
        self.of_life.set()

    def expel(self, reason: str) -> None:
        """Let it be over for good, with an error."""
        _LOG.error("%s", reason)
        self.expelled = reason
        self.come()

    def begin_life(self) -> None:
        """Begin anew, unless it is over for good."""
        self.of_life = threading.Event()
        if self.has_come.is_set():
            self.of_life.set()


@dataclass(frozen=True, slots=True)
class _First:
    """What to begin with.

    Attributes:
        configured: the configuration to run with.
        fallback: the last one that worked, if that is another one and can be used.
        refused: why the nucleus' configuration is not the one to run with; None where it is.
    """

    configured: "Configured"
    fallback: "Configured | None" = None
    refused: InputError | None = None


def _first_configuration(
    nucleus: "NucleusConnection", configuration: "ComponentConfiguration", kept: KeptConfiguration, end: _End
) -> _First | None:
    """Wait for the nucleus, and read the configuration; None if it is to be over meanwhile.

    Raises:
        InputError: the configuration cannot be used, and neither can one that worked before.
    """
    while not end.has_come.is_set():
        if not nucleus.wait_connected(_LOOK_EVERY_S):
            continue
        try:
            return _choose_first(configuration, kept)
        except InputError:
            raise
        except BeeagentError as error:
            _LOG.warning("the configuration is not to be had: %s; trying again", error)
            end.has_come.wait(_ASK_AGAIN_AFTER_S)
    return None


def _choose_first(configuration: "ComponentConfiguration", kept: KeptConfiguration) -> _First:
    try:
        new = configuration.read()
    except InputError as error:
        fallback = _last_working(configuration, kept)
        if fallback is None:
            raise
        return _First(fallback, refused=error)
    try:
        fallback = _last_working(configuration, kept)
    except BeeagentError:
        fallback = None  # its secrets are not to be had; it is not needed yet
    if fallback is not None and not fallback.settings.differing(new.settings):
        fallback = None
    return _First(new, fallback)


def _last_working(configuration: "ComponentConfiguration", kept: KeptConfiguration) -> "Configured | None":
    """Return the last configuration that worked, None if there is none that can be used; raises NucleusError."""
    given = kept.read()
    try:
        return None if given is None else configuration.configured(given)
    except InputError as error:
        _LOG.warning("the last configuration that worked cannot be used any more: %s", error)
        return None


class _Component:
    """One agent after the other, each with the settings of its time.

    A change of the model alone is made while an agent looks. For any other, the agent ends in order and another one
    takes its place in this process, since a local deployment does not start a component anew for it. Where the new
    settings cannot work, the old ones stay, and the status says why. They also stay where a nucleus lite starts the
    component anew with a wrong configuration, as it does after a cloud deployment: what worked is kept in a file.
    """

    def __init__(
        self,
        first: _First,
        nucleus: "NucleusConnection",
        configuration: "ComponentConfiguration",
        kept: KeptConfiguration,
        end: _End,
    ) -> None:
        self._nucleus = nucleus
        self._configuration = configuration
        self._kept = kept
        self._end = end
        self._fallback = first.fallback
        self._lock = threading.Lock()  # of what follows, which the thread of the deployments uses too
        self._running = first.configured
        self._wanted = first.configured.settings
        self._next: Configured | None = None
        self._trouble: str | None = None
        self._agent: Agent | None = None
        self._reload: ModelReload | None = None
        self._looked = 0  # frames that the last agent looked at
        if first.refused is not None:
            self._refuse(first.refused)
            _LOG.warning("beginning with the last configuration that worked")

    def run(self) -> bool:
        """Run agents, and say whether every thread of theirs has ended."""
        from beeagent.greengrass.deployments import Deployments  # noqa: PLC0415 - its package is an extra

        deployments = Deployments(
            self._nucleus,
            on_configuration=self._read_configuration,
            objection=self._objection,
            may_stop=lambda: (agent := self._agent) is None or not agent.delivering,
        )
        deployments.start()
        try:
            return self._run_agents(self._running)
        finally:
            deployments.stop(_ENDS_WITHIN_S)

    def _run_agents(self, configured: "Configured") -> bool:
        ended, good = True, self._fallback
        self._begin_life(configured)
        while True:
            settings = configured.settings
            configure_log(settings.agent.log_format)
            try:
                load = self._configuration.load
                ended &= run_until(self._end.of_life, settings, load, nucleus=self._nucleus, during=self._during)
            except BeeagentError as error:
                if good is None or configured is good or self._looked or isinstance(error, ThreadFailedError):
                    raise
                self._refuse(error)
                with self._lock:
                    configured = self._next or good
                    self._begin_life(configured)
                continue
            with self._lock:
                if self._next is None or self._end.has_come.is_set():
                    return ended
                good, configured = configured, self._next
                self._begin_life(configured)

    def _begin_life(self, configured: "Configured") -> None:
        # Together with the taking of `_next`, so that another that comes meanwhile is not forgotten.
        self._end.begin_life()
        self._running, self._next, self._looked = configured, None, 0

    def _keep_what_works(self) -> None:
        """Keep the configuration of now, if a frame was processed with it and its model is the one in use."""
        if self._agent is None or self._reload is None or not self._agent.health.frames:
            return
        if not self._reload.settings.differing(self._running.settings):
            self._kept.keep(self._running.given)

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
                self._keep_what_works()
                self._agent, self._reload, self._looked = None, None, agent.health.frames

    # What the thread of the deployments calls.

    def _read_configuration(self) -> None:
        with self._lock:
            self._keep_what_works()
        try:
            read = self._configuration.read()
            new = read.settings
            changed = new.differing((self._next or self._running).settings)
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
                self._running = read
                self._reload.request()
            else:
                self._next = read
                self._end.of_life.set()

    def _objection(self, configuration: Mapping[str, Any]) -> str | None:
        try:
            self._check(self._configuration.without_secrets(configuration))
        except BeeagentError as error:
            _LOG.warning("a deployment's configuration is rejected: %s", error)
            return str(error)
        return None

    def _check(self, settings: Settings) -> None:
        """Find what is wrong with settings, as far as that can be seen while others are in use."""
        if settings.camera.address is not None:
            chosen_source(settings)
        if not isinstance(parse_broker(settings.mqtt.broker), Embedded):
            chosen_publisher(settings, broker=None, nucleus=self._nucleus, last_will=lambda: b"")
        chosen_bundle(settings)

    def _refuse(self, error: BeeagentError) -> None:
        trouble = f"the new one is not used: {error}"
        if trouble != self._trouble:  # it is read again and again
            _LOG.error("the new configuration is not used: %s", error)
        self._set_trouble(trouble)

    def _set_trouble(self, trouble: str | None) -> None:
        with self._lock:
            self._trouble = trouble
            if self._agent is not None:
                self._agent.note_trouble(_PART, trouble)
