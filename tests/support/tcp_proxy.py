"""A TCP proxy between client and broker that delays, drops or slows down data, or resets connections."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class TcpProxy:
    """Listens on a port of its own and passes bytes on to another port of this machine."""

    def __init__(self, target_port: int, *, port: int, admit: Callable[[socket.socket], bool]) -> None:
        self._target_port = target_port
        self._admit = admit
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._answers_flow = threading.Event()
        self._answers_flow.set()
        self._drip: tuple[int, float] | None = None
        self._offences: tuple[bytes, ...] = ()
        self.swallowing = False
        """Whether data of the client are dropped silently."""
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_answers(self) -> None:
        """Hold back data of the broker from now on."""
        self._answers_flow.clear()

    def let_answers_through(self) -> None:
        self._answers_flow.set()

    def drip(self, count: int, seconds: float) -> None:
        """Forward a number of bytes at a time, with pauses, in both directions."""
        self._drip = (count, seconds)

    def take_offence(self, *at: bytes) -> None:
        """Reset a connection when the client sends one of these, as some brokers do, without forwarding it."""
        self._offences = at

    def cut(self) -> None:
        """Reset all connections, and drop the data held back."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                # Lingering for zero seconds makes closing a reset.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()
        self._answers_flow.set()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                if not self._admit(client):
                    client.close()
                    continue
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self.accepted += 1
                    self._sockets += [client, broker]
                for source, sink, held in ((client, broker, False), (broker, client, True)):
                    threading.Thread(target=self._pump, args=(source, sink, held), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, held: bool) -> None:  # noqa: FBT001 - thread argument
        with suppress(OSError):
            while data := source.recv(65536):
                if held:
                    self._answers_flow.wait()
                elif self.swallowing:
                    continue
                elif any(offence in data for offence in self._offences):
                    self.cut()
                    return
                self._pass_on(data, sink)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, data: bytes, sink: socket.socket) -> None:
        if self._drip is None:
            sink.sendall(data)
            return
        count, seconds = self._drip
        for start in range(0, len(data), count):
            threading.Event().wait(seconds)
            sink.sendall(data[start : start + count])


@contextmanager
def tcp_proxy(
    target_port: int, *, port: int = 0, admit: Callable[[socket.socket], bool] = lambda _: True
) -> Iterator[TcpProxy]:
    """Run a proxy for as long as the context lasts, on the given port or a free one.

    `admit` looks at each new client, may answer it, and says whether to pass it on.
    """
    proxy = TcpProxy(target_port, port=port, admit=admit)
    try:
        yield proxy
    finally:
        proxy.close()
