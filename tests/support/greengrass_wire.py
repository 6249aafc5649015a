"""The wire format of Greengrass IPC: AWS event-stream messages.

The encoding is that of https://smithy.io/2.0/aws/amazon-eventstream.html, written here once more so that the client
under test is not checked against itself.
"""

import asyncio
import struct
from binascii import crc32
from dataclasses import dataclass, field
from typing import Final

APPLICATION_MESSAGE: Final = 0
APPLICATION_ERROR: Final = 1
CONNECT: Final = 4
CONNECT_ACK: Final = 5

ACCEPTED: Final = 1
TERMINATE: Final = 2

_INT32, _STRING = 4, 7
_PRELUDE: Final = struct.Struct(">III")


@dataclass(frozen=True)
class Message:
    """One message, either way."""

    kind: int
    stream: int
    flags: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""

    def encoded(self) -> bytes:
        headers = b"".join(
            [
                _header(":message-type", self.kind),
                _header(":message-flags", self.flags),
                _header(":stream-id", self.stream),
                *(_header(name, value) for name, value in self.headers.items()),
            ]
        )
        total = 16 + len(headers) + len(self.payload)
        begin = struct.pack(">II", total, len(headers))
        body = begin + struct.pack(">I", crc32(begin)) + headers + self.payload
        return body + struct.pack(">I", crc32(body))


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one message, and check both of its sums."""
    begin = await reader.readexactly(_PRELUDE.size)
    total, length, prelude_sum = _PRELUDE.unpack(begin)
    assert prelude_sum == crc32(begin[:8])
    rest = await reader.readexactly(total - _PRELUDE.size)
    assert struct.unpack(">I", rest[-4:])[0] == crc32(begin + rest[:-4])
    headers = _headers(rest[:length])
    kind, flags, stream = (headers.pop(f":{name}") for name in ("message-type", "message-flags", "stream-id"))
    assert isinstance(kind, int)
    assert isinstance(flags, int)
    assert isinstance(stream, int)
    texts = {name: str(value) for name, value in headers.items()}
    return Message(kind, stream, flags, texts, rest[length:-4])


def _header(name: str, value: int | str) -> bytes:
    begin = struct.pack(">B", len(name)) + name.encode()
    if isinstance(value, int):
        return begin + struct.pack(">Bi", _INT32, value)
    return begin + struct.pack(">BH", _STRING, len(value.encode())) + value.encode()


def _headers(data: bytes) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        name, kind, at = data[at + 1 : end].decode(), data[end], end + 1
        if kind == _INT32:
            found[name], at = struct.unpack_from(">i", data, at)[0], at + 4
        else:
            assert kind == _STRING, f"header {name} is of type {kind}"
            (length,) = struct.unpack_from(">H", data, at)
            found[name], at = data[at + 2 : at + 2 + length].decode(), at + 2 + length
    return found
