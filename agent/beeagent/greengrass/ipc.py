"""The one connection that a component has to its nucleus."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from awscrt.exceptions import AwsCrtError
from awscrt.io import ClientBootstrap, DefaultHostResolver, EventLoopGroup, SocketDomain, SocketOptions
from awsiot.eventstreamrpc import (
    AccessDeniedError,
    Connection,
    ConnectionClosedError,
    LifecycleHandler,
    MessageAmendment,
)
from awsiot.greengrasscoreipc.client import GreengrassCoreIPCClient
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from beeagent.backoff import Backoff
from beeagent.greengrass.address import NucleusAddress
from beeagent.greengrass.errors import nucleus_error

_LOG: Final = logging.getLogger(__name__)

_ANSWER_WITHIN_S: Final = 10.0
# Times in a row that the nucleus may hang up or stay silent before it has let this process in, until that counts as a
# refusal. One that is just being started does so too.
_MOST_TURNED_AWAY: Final = 5


class NucleusConnection:
    """Keeps a connection to the nucleus, and connects again whenever it ends, until `close`.

    A nucleus whose daemon was started again no longer knows this process, and never will: then `on_expelled` is told,
    once, and only a new process gets in again.

    Nothing that runs on the connection's own thread may ask the nucleus and wait: that thread would have to carry the
    answer. So listeners and the callbacks of subscriptions only pass on what they hear.
    """

    def __init__(
        self,
        address: NucleusAddress,
        *,
        on_expelled: Callable[[str], None],
        backoff: Backoff | None = None,
        connect_within_s: float = 10.0,
    ) -> None:
        """Describe the connection; nothing happens before `start`.

        Args:
            address: of the nucleus.
            on_expelled: told why this process will never be let in again.
            backoff: the waits between tries; None for the usual ones.
            connect_within_s: seconds for which the nucleus may take to let this process in.
        """
        self._connect_within = connect_within_s
        self._address = address
        self._on_expelled = on_expelled
        self._backoff = backoff or Backoff(first=0.2, longest=10.0)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._client: GreengrassCoreIPCClientV2 | None = None
        self._reason = "not yet connected to the nucleus"
        self._turned_away = 0
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nucleus", daemon=True)

    @property
    def client(self) -> GreengrassCoreIPCClientV2 | None:
        """What to ask the nucleus with; None while there is no connection."""
        with self._lock:
            return self._client

    @property
    def reason(self) -> str:
        """Why there is no connection, in plain words; empty while there is one."""
        with self._lock:
            return self._reason

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a connection has come about or ended; give what ends that."""
        with self._lock:
            self._listeners.append(listener)

        def forget() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return forget

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a connection, and say whether there is one."""
        return self._connected.wait(timeout)

    def ask(self, begin: Callable[[GreengrassCoreIPCClientV2], "Future[Any]"]) -> Any:  # noqa: ANN401 - its own shapes
        """Ask the nucleus, and wait for the answer.

        Args:
            begin: begins one of the client's `..._async` calls and gives its future.

        Raises:
            NucleusError: it did not do it, there is no connection, or no answer came within 10 s.
        """
        client = self.client
        if client is None:
            raise nucleus_error(ConnectionClosedError())
        try:
            return begin(client).result(_ANSWER_WITHIN_S)
        except Exception as error:
            raise nucleus_error(error) from error

    def close(self, timeout: float = 2.0) -> None:
        """End the connection. Safe to call twice, and without `start`."""
        self._stopping.set()
        self._hang_up()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        loop = EventLoopGroup(num_threads=1)
        bootstrap = ClientBootstrap(loop, DefaultHostResolver(loop))
        options = SocketOptions()
        options.domain = SocketDomain.Local
        while not self._stopping.is_set():
            connection = Connection(
                host_name=self._address.socket,
                port=0,
                bootstrap=bootstrap,
                socket_options=options,
                connect_message_amender=MessageAmendment.create_static_authtoken_amender(self._address.token),
            )
            if self._connect(connection):
                self._backoff.reset()
                self._turned_away = 0
            elif self._turned_away >= _MOST_TURNED_AWAY:
                self._expel()
            if not self._stopping.is_set():
                self._stopping.wait(self._backoff.next())

    def _connect(self, connection: Connection) -> bool:
        """Connect, and stay for as long as it lasts; say whether this process was let in."""
        ended = threading.Event()
        try:
            connection.connect(_Ending(ended)).result(self._connect_within)
        except AccessDeniedError:
            self._expel()
            return False
        except Exception as error:  # noqa: BLE001 - a future gives whatever its maker raised
            connection.close()  # it may only be late
            self._turned_away = self._turned_away + 1 if _is_turned_away(error) else 0
            self._set(None, f"no connection to the nucleus at {self._address.socket} ({_words(error)})")
            return False
        # Without an executor: what the callbacks do is quick, and its threads would outlive the connection.
        self._set(GreengrassCoreIPCClientV2(client=GreengrassCoreIPCClient(connection), executor=None), "")
        if self._stopping.is_set():
            connection.close()
        ended.wait()
        self._set(None, "the connection to the nucleus ended")
        return True

    def _expel(self) -> None:
        reason = (
            "the nucleus does not know this process any more, as its daemon was started again: only a new process gets "
            "in (SVCUID)"
        )
        self._stopping.set()
        self._set(None, reason)
        self._on_expelled(reason)

    def _hang_up(self) -> None:
        client = self.client
        if client is not None:
            client.close(executor_wait=False)

    def _set(self, client: GreengrassCoreIPCClientV2 | None, reason: str) -> None:
        with self._lock:
            news = (client, reason) != (self._client, self._reason)
            self._client, self._reason = client, reason
            listeners = list(self._listeners)
        if client is None:
            self._connected.clear()
        else:
            self._connected.set()
        if not news:
            return
        if client is not None:
            _LOG.info("connected to the nucleus")
        elif not self._stopping.is_set():
            _LOG.warning("%s; trying again", reason)
        for listener in listeners:
            listener()


class _Ending(LifecycleHandler):  # type: ignore[misc]  # of a package without types
    """Tells that a connection has ended."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def on_disconnect(self, reason: Exception | None) -> None:  # noqa: ARG002 - the package's signature
        self._ended.set()

    def on_error(self, error: Exception) -> bool:  # noqa: ARG002 - the package's signature
        return True


def _words(error: Exception) -> str:
    # Some come with a number, a name and words; the words alone say it, as far as there are any.
    return str(getattr(error, "message", None) or error).rpartition(": ")[2].rstrip(".") or type(error).__name__


def _is_turned_away(error: Exception) -> bool:
    """Whether the nucleus took the connection and did not let this process in, rather than not being there."""
    if isinstance(error, FutureTimeoutError):
        return True
    return isinstance(error, AwsCrtError) and error.name in {
        "AWS_IO_SOCKET_CLOSED",
        "AWS_ERROR_EVENT_STREAM_RPC_CONNECTION_CLOSED",
    }
