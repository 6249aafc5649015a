"""Runs the agent as the command line does: log, signals, embedded broker and all."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NoReturn

from beeagent.errors import BeeagentError, InputError
from beeagent.log import configure_log
from beeagent.mqtt import Embedded, EmbeddedBroker, parse_broker
from beeagent.runtime.agent import Agent
from beeagent.runtime.factory import chosen_bundle
from beeagent.runtime.http import serving_health
from beeagent.runtime.reload import ModelReload
from beeagent.settings import Settings
from beeagent.thread_guard import ThreadGuard

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection

_LOG = logging.getLogger(__name__)

_RELOAD_ENDS_WITHIN_S = 0.5
_EXIT_FAILURE, _EXIT_USAGE = 1, 2  # as the command line's


def run_agent(load: Callable[[], Settings]) -> None:
    """Run the agent until its camera ends or SIGINT or SIGTERM comes; at SIGHUP, look for a new model.

    Args:
        load: reads the settings; called at the start, and at each SIGHUP.

    Raises:
        InputError: something in the settings cannot be used.
        ThreadFailedError: a thread ended with an exception that nobody foresaw.
        BeeagentError: a stage failed.
    """
    settings = load()
    configure_log(settings.agent.log_format)
    stop = threading.Event()
    with on_signals(stopping(stop.set)), ThreadGuard(lambda _: stop.set()):
        ended = run_until(stop, settings, load)
    if not ended:
        leave_at_once(0)


def run_until(
    stop: threading.Event,
    settings: Settings,
    load: Callable[[], Settings],
    *,
    ipc: "IpcConnection | None" = None,
    during: Callable[[Agent, ModelReload], AbstractContextManager[None]] = lambda _agent, _reload: nullcontext(),
) -> bool:
    """Run the agent until its camera ends or `stop` is set; say whether every thread of it has ended.

    Args:
        stop: set to end it.
        settings: what it is to do.
        load: reads the settings anew, for another model.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        during: gives what is entered while the agent runs.

    Raises:
        InputError: something in the settings cannot be used.
        BeeagentError: a stage failed.
    """
    bundle = chosen_bundle(settings)
    embedded = EmbeddedBroker() if isinstance(parse_broker(settings.mqtt.broker), Embedded) else None
    if embedded is not None:
        embedded.start()
    try:
        agent = Agent(
            settings,
            bundle=bundle,
            outbox_path=settings.state_file("outbox.sqlite3"),
            broker=None if embedded is None else embedded.address,
            ipc=ipc,
            stopping=stop,
        )
        _LOG.info("looking at %s with %s", settings.camera.name, bundle.identity)
        reload = agent.reload_with(load)
        reload.start()
        try:
            with (
                on_signals({signal.SIGHUP: reload.request}),
                serving_health(settings, agent.health),
                during(agent, reload),
            ):
                agent.run()
        except Exception as error:
            if not agent.left_behind:
                raise
            _LOG.error("the agent failed: %s", error, exc_info=None if isinstance(error, BeeagentError) else error)
            leave_at_once(_EXIT_USAGE if isinstance(error, InputError) else _EXIT_FAILURE)
        finally:
            agent.close()
            reload.stop(_RELOAD_ENDS_WITHIN_S)
        _LOG.info("looked at %d frames", agent.health.frames)
    finally:
        if embedded is not None:
            embedded.stop()
    return not agent.left_behind


def leave_at_once(code: int) -> NoReturn:
    """End the process without Python's own end.

    That takes apart what a thread which hangs in foreign code still uses: it waits for it, or crashes over it.
    """
    _LOG.warning("left behind what did not end in time")
    logging.shutdown()
    os._exit(code)


def stopping(stop: Callable[[], None]) -> dict[signal.Signals, Callable[[], None]]:
    """Give what SIGINT and SIGTERM are to do where they are to call `stop` instead of ending the process."""
    return {signal.SIGINT: stop, signal.SIGTERM: stop}


@contextmanager
def on_signals(calls: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """While entered, let signals call something instead of what they would do."""
    before = {number: signal.signal(number, lambda number, _: calls[signal.Signals(number)]()) for number in calls}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
