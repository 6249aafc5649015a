"""Running the agent with log, signals and embedded broker, for the command line."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NoReturn

from beeagent.errors import BeeagentError, InputError
from beeagent.mqtt import Embedded, EmbeddedBroker, parse_broker
from beeagent.output import configure_log
from beeagent.runtime.agent import Agent
from beeagent.runtime.factory import load_model
from beeagent.runtime.http import serving_health
from beeagent.settings import Settings
from beeagent.threads import ThreadGuard, on_signals, on_stop_signals

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection

_LOG = logging.getLogger(__name__)

_EXIT_FAILURE, _EXIT_USAGE = 1, 2  # as in the command line


def run_agent(load: Callable[[], Settings]) -> None:
    """Run the agent until its camera ends, or SIGINT or SIGTERM; SIGHUP reloads the model and the places.

    Args:
        load: reads the settings; called at the start, and at each SIGHUP.

    Raises:
        InputError: the settings cannot be used.
        ThreadFailedError: a thread ended with an unexpected exception.
        BeeagentError: a stage failed.
    """
    settings = load()
    configure_log(settings.agent.log_format)
    stop = threading.Event()
    with on_stop_signals(stop.set), ThreadGuard(lambda _: stop.set()):
        ended = run_until(stop, settings, load)
    if not ended:
        exit_at_once(0)


def run_until(
    stop: threading.Event,
    settings: Settings,
    load: Callable[[], Settings],
    *,
    ipc: "IpcConnection | None" = None,
    during: Callable[[Agent], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> bool:
    """Run the agent until its camera ends or `stop` is set; return False if one of its threads has not ended.

    Args:
        stop: event that stops the agent.
        settings: settings of the agent.
        load: reads the settings again, for a reload.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        during: returns a context manager that is entered while the agent runs.

    Raises:
        InputError: the settings cannot be used.
        BeeagentError: a stage failed.
    """
    bundle = load_model(settings)
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
            load=load,
            stopping=stop,
        )
        _LOG.info("processing %s with model %s", settings.camera.name, bundle.identity)
        try:
            with (
                on_signals({signal.SIGHUP: agent.reload.request}),
                serving_health(settings, agent.health),
                during(agent),
            ):
                agent.run()
        except Exception as error:
            if not agent.threads_stuck:
                raise
            _LOG.error("the agent failed: %s", error, exc_info=None if isinstance(error, BeeagentError) else error)
            exit_at_once(_EXIT_USAGE if isinstance(error, InputError) else _EXIT_FAILURE)
        finally:
            agent.close()
        _LOG.info("processed %d frames", agent.health.frames)
    finally:
        if embedded is not None:
            embedded.stop()
    return not agent.threads_stuck


def exit_at_once(code: int) -> NoReturn:
    """End the process without finalizing Python, which could hang or crash with a thread stuck in native code."""
    _LOG.warning("some threads did not stop in time; exiting without them")
    logging.shutdown()
    os._exit(code)
