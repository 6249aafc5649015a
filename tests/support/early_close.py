"""A client of a server that may close the connection at any moment, before it has read all or even anything."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_CLOSED = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}
"""How the system reports that, depending on what the client does when the reset arrives."""


def send_and_read(client: socket.socket, content: bytes) -> bytes:
    """Send, end the sending direction, and return what the server sends until it closes the connection.

    Raises:
        OSError: anything but a connection that the server has closed, such as a time-out.
    """
    received = b""
    with _server_may_close():
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
    with _server_may_close():
        while part := client.recv(65536):
            received += part
    return received


@contextmanager
def _server_may_close() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
