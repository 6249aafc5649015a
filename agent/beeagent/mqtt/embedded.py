"""A small MQTT broker in this process, for demos and tests."""

import asyncio
import contextlib
import logging
import socket
import threading
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError, requires_extra
from beeagent.mqtt.options import DEFAULT_PORT, BrokerAddress

_LOG: Final = logging.getLogger(__name__)

_HOST: Final = "127.0.0.1"
_TIMEOUT: Final = 10.0  # seconds to start and to stop


class EmbeddedBroker:
    """A broker on the loopback interface, without authentication and persistence.

    It supports MQTT 3.1.1 only, and does not answer an MQTT 5 client with a last will. It keeps all data in memory and
    is written in Python: for demos, not for production.
    """

    def __init__(self, *, port: int | None = DEFAULT_PORT) -> None:
        """Prepare the broker, which listens after `start`.

        Args:
            port: port to listen on; None for a free one.

        Raises:
            InputError: amqtt is not installed.
        """
        with requires_extra("demo", feature="the embedded broker"):
            import amqtt.broker  # noqa: F401, PLC0415 - an extra; report it here if it is missing, not on the thread
        self._port = port
        self._address: BrokerAddress | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def address(self) -> BrokerAddress:
        """The address of the broker, after `start`.

        Raises:
            ValueError: the broker is not started.
        """
        if self._address is None:
            raise ValueError("the embedded broker is not started")
        return self._address

    def start(self) -> None:
        """Start the broker, and return when it listens.

        Raises:
            InputError: the port is in use.
            BeeagentError: the broker did not start.
        """
        port = _free_port() if self._port is None else self._port
        _check_free(port)
        self._address = BrokerAddress(host=_HOST, port=port, tls=False, mqtt="3.1.1")
        self._thread.start()
        if not self._started.wait(_TIMEOUT) or self._failure is not None:
            raise BeeagentError(f"the embedded broker did not start: {self._failure or 'no answer'}")

    def stop(self) -> None:
        """Close all connections, and stop. Idempotent, and allowed without `start`."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT)

    def _run(self) -> None:
        # amqtt logs a few lines for every connection, and a warning for a client that disappears.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        # Not asyncio.run: before it raises a failure, it waits for amqtt's connections, which may not end.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._serve())
        except Exception as error:
            if self._started.is_set():
                raise
            self._failure = error  # raised by `start` on another thread
        finally:
            self._started.set()
            loop.close()

    async def _serve(self) -> None:
        from amqtt.broker import Broker  # noqa: PLC0415 - an extra

        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # A client that disconnects in the middle of a packet must not print an error.
        self._loop.set_exception_handler(lambda _, context: _LOG.debug("%s", context.get("message")))
        config: dict[str, Any] = {
            "listeners": {"default": {"type": "tcp", "bind": f"{_HOST}:{self.address.port}"}},
            # The default plugins log every packet and publish on $SYS.
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        broker = Broker(config)
        await broker.start()
        self._started.set()
        await self._stopping.wait()
        await asyncio.wait_for(broker.shutdown(), _TIMEOUT / 2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise InputError(
                f"the embedded broker cannot listen on {_HOST}:{port} ({error.strerror}): if a broker runs there "
                f"already, give --broker mqtt://{_HOST}:{port}"
            ) from error
