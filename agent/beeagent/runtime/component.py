"""The agent as a Greengrass component, configured by deployments at the start and while it runs."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError
from beeagent.greengrass import (
    THING_VARIABLE,
    Configuration,
    ConfigurationReader,
    Deployments,
    IpcConnection,
    LastWorkingConfiguration,
    ipc_address,
)
from beeagent.mqtt import Embedded, parse_broker
from beeagent.output import configure_log
from beeagent.runtime import (
    RELOADED,
    Agent,
    build_publisher,
    build_source,
    exit_at_once,
    load_model,
    run_until,
)
from beeagent.settings import Settings
from beeagent.threads import ThreadFailedError, ThreadGuard, on_stop_signals
from beeagent.tracking import load_places

_LOG: Final = logging.getLogger(__name__)

_POLL_INTERVAL_S: Final = 0.5
_RETRY_AFTER_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 0.5
_PART: Final = "configuration"


def run_component(options: Mapping[str, Any]) -> None:
    """Run the agent with the component's configuration, until its camera ends or SIGINT or SIGTERM is received.

    If the configuration is invalid, the agent runs with the last working one, and its status contains the problem.

    Args:
        options: command-line options by key, which take precedence over the configuration.

    Raises:
        InputError: this process was not started by a nucleus, or its configuration is invalid and there is no working
            one.
        BeeagentError: a stage failed, or the nucleus no longer accepts this process.
    """
    address = ipc_address(os.environ)
    stop = _Stop()
    ipc = IpcConnection(address, on_rejected=stop.reject)
    configure_log("text")
    reader = ConfigurationReader(ipc, options=options, thing=os.environ.get(THING_VARIABLE))
    last_working = LastWorkingConfiguration(reader.parse({}).settings.state_folder())
    ended = True
    with on_stop_signals(stop.stop_process), ThreadGuard(lambda _: stop.stop_process()):
        ipc.start()
        try:
            initial = _wait_for_configuration(ipc, reader, last_working, stop)
            if initial is not None:
                ended = _Component(initial, ipc, reader, last_working, stop).run()
        finally:
            ipc.close(_STOP_TIMEOUT_S)
    if stop.rejected is not None and ended:
        raise BeeagentError(stop.rejected)
    if not ended:
        exit_at_once(0 if stop.rejected is None else 1)


class _Stop:
    """Events that stop the process, or only the current agent.

    Attributes:
        process: event to stop the process.
        agent: event to stop the current agent.
        rejected: reason why the nucleus no longer accepts this process; None if it does.
    """

    def __init__(self) -> None:
        self.process = threading.Event()
        self.agent = threading.Event()
        self.rejected: str | None = None

    def stop_process(self) -> None:
        """Stop the process. Safe in a signal handler."""
        self.process.set()
        self.agent.set()

    def reject(self, reason: str) -> None:
        """Stop the process with an error."""
        _LOG.error("%s", reason)
        self.rejected = reason
        self.stop_process()

    def begin_agent(self) -> None:
        """Create the event for the next agent."""
        self.agent = threading.Event()
        if self.process.is_set():
            self.agent.set()


@dataclass(frozen=True, slots=True)
class _Initial:
    """The configuration at the start.

    Attributes:
        configuration: configuration to run with.
        fallback: last working configuration, if it differs and is valid.
        error: reason why the nucleus' configuration is not used; None if it is used.
    """

    configuration: Configuration
    fallback: Configuration | None = None
    error: InputError | None = None


def _wait_for_configuration(
    ipc: IpcConnection, reader: ConfigurationReader, last_working: LastWorkingConfiguration, stop: _Stop
) -> _Initial | None:
    """Wait for the nucleus, and read the configuration; return None if the process is stopped.

    Raises:
        InputError: the configuration is invalid, and there is no valid last working one.
    """
    while not stop.process.is_set():
        if not ipc.wait_connected(_POLL_INTERVAL_S):
            continue
        try:
            return _initial_configuration(reader, last_working)
        except InputError:
            raise
        except BeeagentError as error:
            _LOG.warning("the configuration cannot be read: %s; retrying", error)
            stop.process.wait(_RETRY_AFTER_S)
    return None


def _initial_configuration(reader: ConfigurationReader, last_working: LastWorkingConfiguration) -> _Initial:
    try:
        configuration = reader.read()
    except InputError as error:
        fallback = _fallback(reader, last_working)
        if fallback is None:
            raise
        return _Initial(fallback, error=error)
    try:
        fallback = _fallback(reader, last_working)
    except BeeagentError:
        fallback = None  # its secrets are not available, but it is not needed yet
    if fallback is not None and not fallback.settings.differing(configuration.settings):
        fallback = None
    return _Initial(configuration, fallback)


def _fallback(reader: ConfigurationReader, last_working: LastWorkingConfiguration) -> Configuration | None:
    """Return the last working configuration; None if there is none or it is invalid. Raises IpcError."""
    values = last_working.read()
    try:
        return None if values is None else reader.parse(values)
    except InputError as error:
        _LOG.warning("the last working configuration is no longer valid: %s", error)
        return None


class _Component:
    """Runs agents one after the other, each with the configuration at its start.

    A change of the model alone is applied to the running agent. After any other change, the agent is stopped and
    replaced in the same process, since a local deployment does not restart a component. If the new settings fail, the
    old ones stay in use, and the status contains the problem. This also holds if a nucleus lite restarts the component
    with an invalid configuration, as after a cloud deployment: the last working one is saved to a file.
    """

    def __init__(
        self,
        initial: _Initial,
        ipc: IpcConnection,
        reader: ConfigurationReader,
        last_working: LastWorkingConfiguration,
        stop: _Stop,
    ) -> None:
        self._ipc = ipc
        self._reader = reader
        self._last_working = last_working
        self._stop = stop
        self._fallback = initial.fallback
        self._lock = threading.Lock()  # guards the following against the thread of the deployments
        self._current = initial.configuration
        self._wanted = initial.configuration.settings
        self._next: Configuration | None = None
        self._problem: str | None = None
        self._agent: Agent | None = None
        self._frames = 0  # processed by the last agent
        if initial.error is not None:
            self._refuse(initial.error)
            _LOG.warning("starting with the last working configuration")

    def run(self) -> bool:
        """Run agents; return False if one of their threads has not ended."""
        deployments = Deployments(
            self._ipc,
            on_configuration=self._read_configuration,
            validate=self._validate,
            may_stop=lambda: (agent := self._agent) is None or not agent.delivering,
        )
        deployments.start()
        try:
            return self._run_agents(self._current)
        finally:
            deployments.stop(_STOP_TIMEOUT_S)

    def _run_agents(self, configuration: Configuration) -> bool:
        ended, good = True, self._fallback
        self._begin_agent(configuration)
        while True:
            settings = configuration.settings
            configure_log(settings.agent.log_format)
            try:
                load = self._reader.load
                ended &= run_until(self._stop.agent, settings, load, ipc=self._ipc, during=self._during)
            except BeeagentError as error:
                if good is None or configuration is good or self._frames or isinstance(error, ThreadFailedError):
                    raise
                self._refuse(error)
                with self._lock:
                    configuration = self._next or good
                    self._begin_agent(configuration)
                continue
            with self._lock:
                if self._next is None or self._stop.process.is_set():
                    return ended
                good, configuration = configuration, self._next
                self._begin_agent(configuration)

    def _begin_agent(self, configuration: Configuration) -> None:
        # Requires the lock that also guards `_next`, so that a new configuration is not lost.
        self._stop.begin_agent()
        self._current, self._next, self._frames = configuration, None, 0

    def _save_if_working(self) -> None:
        """Save the current configuration if a frame was processed with it and its model is in use."""
        if self._agent is None or not self._agent.health.frames:
            return
        if not self._agent.reload.settings.differing(self._current.settings):
            self._last_working.save(self._current.values)

    @contextmanager
    def _during(self, agent: Agent) -> Iterator[None]:
        with self._lock:
            self._agent = agent
            if self._problem is not None:
                agent.problems.set(_PART, self._problem)
        try:
            yield
        finally:
            with self._lock:
                self._save_if_working()
                self._agent, self._frames = None, agent.health.frames

    # Called on the thread of the deployments.

    def _read_configuration(self) -> None:
        with self._lock:
            self._save_if_working()
        try:
            new = self._reader.read()
            changed = new.settings.differing((self._next or self._current).settings)
            if changed and not new.settings.differing(self._wanted):
                return  # it has failed before
            if not changed <= set(RELOADED):
                self._check(new.settings)
        except InputError as error:
            self._refuse(error)
            return
        self._wanted = new.settings
        self._set_problem(None)
        if not changed:
            return
        _LOG.info("changing to a new configuration (%s)", ", ".join(sorted(changed)))
        with self._lock:
            if changed <= set(RELOADED) and self._agent is not None:
                self._current = new
                self._agent.reload.request()
            else:
                self._next = new
                self._stop.agent.set()

    def _validate(self, values: Mapping[str, Any]) -> str | None:
        try:
            self._check(self._reader.parse_without_secrets(values))
        except BeeagentError as error:
            _LOG.warning("the configuration of a deployment is rejected: %s", error)
            return str(error)
        return None

    def _check(self, settings: Settings) -> None:
        """Raise BeeagentError if settings are invalid, as far as this can be checked while others are in use."""
        if settings.camera.address is not None:
            build_source(settings)
        if settings.tracking.places is not None:
            load_places(settings.tracking.places)
        if not isinstance(parse_broker(settings.mqtt.broker), Embedded):
            build_publisher(settings, broker=None, ipc=self._ipc, last_will=lambda: b"")
        load_model(settings)

    def _refuse(self, error: BeeagentError) -> None:
        problem = f"the new one is not used: {error}"
        if problem != self._problem:  # log it once, although it is read repeatedly
            _LOG.error("the new configuration is not used: %s", error)
        self._set_problem(problem)

    def _set_problem(self, problem: str | None) -> None:
        with self._lock:
            self._problem = problem
            if self._agent is not None:
                self._agent.problems.set(_PART, problem)
