"""Streaming reader for a large JSON object, with constant memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from beeagent.errors import InputError

_CHUNK = 1 << 16
_BLANKS = " \t\r\n"
_IN_NUMBERS = ("", *"+-.eE0123456789")

Member = tuple[str, int | None, object]
"""Key, index in its list (None if the value is not a list), and value."""


class BrokenJsonError(InputError):
    """The file is not JSON, or truncated."""


def members(file: Path) -> Iterator[Member]:
    """Yield the members of the object in a file; lists are yielded entry by entry.

    An empty list is one member with the value `[]` and no index.

    Args:
        file: JSON in UTF-8.

    Raises:
        BrokenJsonError: the file is not a JSON object.
        InputError: the file cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            yield from _Reader(stream).members()
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text") from None
    except (json.JSONDecodeError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise BrokenJsonError(f"{file}: Invalid JSON: {what}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


class _Reader:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._position = 0
        self._ended = False
        self._passed = 0
        """Number of characters dropped from the text."""

    def members(self) -> Iterator[Member]:
        self._expect("{")
        for _ in self._items("}"):
            key = self._value()
            if not isinstance(key, str):
                raise self._error("a key must be a string")
            self._expect(":")
            if not self._accept("["):
                yield key, None, self._value()
                continue
            place = None
            for place, _ in enumerate(self._items("]")):
                yield key, place, self._value()
            if place is None:
                yield key, None, []
        if self._next():
            raise self._error("unexpected content after the end")

    def _items(self, end: str) -> Iterator[None]:
        """Yield before each item of an object or a list, up to its closing character."""
        if self._accept(end):
            return
        yield
        while not self._accept(end):
            self._expect(",")
            yield

    def _value(self) -> object:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise self._error(error.msg) from None
                continue
            # A number at the end of the text may be incomplete, such as the 1 of 1.5.
            if self._text[end : end + 1] not in _IN_NUMBERS or not self._more():
                self._position = end
                return value

    def _accept(self, sign: str) -> bool:
        found = self._next() == sign
        self._position += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise self._error(f"expected '{sign}'")

    def _next(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            while (sign := self._text[self._position : self._position + 1]) and sign in _BLANKS:
                self._position += 1
            if sign or not self._more():
                return sign

    def _more(self) -> bool:
        """Read a chunk and drop parsed text. Chunks grow with the unparsed text, so long values need few parses."""
        if self._ended:
            return False
        kept = self._text[self._position :]
        chunk = self._stream.read(max(_CHUNK, len(kept)))
        self._passed += self._position
        self._text, self._position = kept + chunk, 0
        self._ended = not chunk
        return bool(chunk)

    def _error(self, what: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(f"{what} at character {self._passed + self._position}", "", 0)
