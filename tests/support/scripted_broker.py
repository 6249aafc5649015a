"""A scripted broker: a real socket with set responses to CONNECT, which records packets."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from beeagent.mqtt import BrokerAddress

_DEADLINE = 45.0  # seconds for what takes milliseconds, on a machine that is busy

OK_3 = b"\x20\x02\x00\x00"


def connack_5(code: int = 0, **properties: int) -> bytes:
    """Return a CONNACK of MQTT 5; properties by their names below."""
    body = b""
    for name, value in properties.items():
        identifier, form = _PROPERTIES[name]
        body += bytes([identifier]) + struct.pack(form, value)
    return bytes([0x20, 3 + len(body), 0, code, len(body)]) + body


_PROPERTIES = {
    "server_keep_alive": (0x13, ">H"),
    "receive_maximum": (0x21, ">H"),
    "topic_alias_maximum": (0x22, ">H"),
    "maximum_qos": (0x24, ">B"),
    "retain_available": (0x25, ">B"),
    "maximum_packet_size": (0x27, ">I"),
    "wildcard_available": (0x28, ">B"),
    "shared_available": (0x2A, ">B"),
}


def disconnect_5(code: int) -> bytes:
    """Return a DISCONNECT of MQTT 5."""
    return bytes([0xE0, 1, code])


@dataclass(frozen=True)
class Connect:
    """The CONNECT of a client."""

    version: int
    client_id: str
    will_retain: bool
    will_qos: int


@dataclass(frozen=True)
class Published:
    """A PUBLISH; `size` is that of the whole packet in bytes."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    size: int


@dataclass
class ScriptedBroker:
    """Answers each CONNECT with what `answer` returns: bytes, empty ones for silence, or None to close at once.

    After an answer it acknowledges whatever comes, unless `end_with` returns the last bytes before it closes.
    """

    answer: Callable[[Connect], bytes | None]
    end_with: Callable[[Published], bytes | None] = lambda _: None
    connects: list[Connect] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    deaf_to_pings: bool = False

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress("127.0.0.1", self._listener.getsockname()[1], tls=False)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, _DEADLINE), (self.connects, self.published, self.kinds)

    def serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError, EOFError):
            version = 4
            while True:
                kind, flags, body = _packet(stream.read)
                if kind == 1:
                    asked = _connect(body)
                    version = asked.version
                    with self._changed:
                        self.connects.append(asked)
                        self._changed.notify_all()
                    answer = self.answer(asked)
                    if answer is None:
                        return
                    connection.sendall(answer)
                elif kind == 3:
                    published, number = _published(flags, body, version)
                    last = self.end_with(published)
                    with self._changed:
                        self.published.append(published)
                        self._changed.notify_all()
                    if last is not None:
                        connection.sendall(last)
                        return
                    if number:
                        connection.sendall(b"\x40\x02" + number)
                else:
                    if (answer := self._answer(kind, body, version)) is None:
                        return
                    connection.sendall(answer)
                    with self._changed:
                        self.kinds.append(kind)
                        self._changed.notify_all()

    def _answer(self, kind: int, body: bytes, version: int) -> bytes | None:
        number, properties = body[:2], b"\0" if version == 5 else b""
        if kind == 8:
            return bytes([0x90, 3 + len(properties)]) + number + properties + b"\x01"
        if kind == 12 and self.deaf_to_pings:
            return b""
        return b"\xd0\x00" if kind == 12 else None


@contextmanager
def scripted_broker(
    answer: Callable[[Connect], bytes | None], end_with: Callable[[Published], bytes | None] = lambda _: None
) -> Iterator[ScriptedBroker]:
    """Serve while the context lasts."""
    broker = ScriptedBroker(answer, end_with)
    threading.Thread(target=broker.serve, daemon=True).start()
    try:
        yield broker
    finally:
        broker.close()


def _packet(read: Callable[[int], bytes]) -> tuple[int, int, bytes]:
    first, length, shift = _exactly(read, 1)[0], 0, 0
    while True:
        digit = _exactly(read, 1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return first >> 4, first & 0x0F, _exactly(read, length)


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count) if count else b""
    if len(data) < count:
        raise EOFError
    return data


def _text(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">H", body, at)
    return body[at + 2 : at + 2 + length], at + 2 + length


def _connect(body: bytes) -> Connect:
    _, at = _text(body, 0)
    version, flags = body[at], body[at + 1]
    at += 4
    if version == 5:
        at += 1 + body[at]
    client_id, _ = _text(body, at)
    return Connect(version, client_id.decode(), will_retain=bool(flags & 0x20), will_qos=flags >> 3 & 3)


def _published(flags: int, body: bytes, version: int) -> tuple[Published, bytes]:
    qos, number = flags >> 1 & 3, b""
    topic, at = _text(body, 0)
    if qos:
        number, at = body[at : at + 2], at + 2
    if version == 5:
        at += 1 + body[at]
    header = 2 if len(body) < 128 else 3 if len(body) < 16384 else 4
    return Published(topic.decode(), body[at:], qos, bool(flags & 1), len(body) + header), number
