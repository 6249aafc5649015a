"""Protection of the page against DNS rebinding and requests from other sites (CSRF)."""

import ipaddress
import re
import socket
from http import HTTPStatus
from typing import Final

from beeagent.errors import InputError
from beeagent.settings import PageSettings
from beeagent.web.server import RefusedError, Request

_READING: Final = frozenset({"GET", "HEAD"})
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


class Origins:
    """Checks the host, origin and content type of requests.

    Allowed hosts are the names in the settings, those of the device, and the local address of the connection.

    Args:
        settings: settings with `host` and `hosts`.
        port: port of the page.

    Raises:
        InputError: an entry of `hosts` is not a name.
    """

    def __init__(self, settings: PageSettings, *, port: int) -> None:
        self._port = port
        self._hosts = _allowed_hosts(settings, port)

    def check(self, request: Request) -> None:
        """Check a request.

        Raises:
            RefusedError: the host is not allowed (DNS rebinding), or another site made the request (CSRF).
        """
        host = (request.header("Host") or "").lower()
        if not self._is_allowed(host, request):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this host name is not allowed: add it to the setting page_hosts")
        origins = request.headers.get_all("Origin", [])
        reading = request.method in _READING
        own = {f"https://{host}"} | (set() if request.secure else {f"http://{host}"})
        if any(str(origin).lower() not in own for origin in origins) or not (reading or len(origins) == 1):
            raise RefusedError(HTTPStatus.FORBIDDEN, "requests of other sites are refused")
        site = request.header("Sec-Fetch-Site")
        # Any site may link to the page.
        if site not in {None, "same-origin", "none"} and not (reading and request.path == "/"):
            raise RefusedError(HTTPStatus.FORBIDDEN, "requests of other sites are refused")
        kind = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
        if not reading and kind != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")

    def _is_allowed(self, host: str, request: Request) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name, port = match[1], int(match[2] or (443 if request.secure else 80))
        if (name, port) in self._hosts or (match[2] is None and (name, None) in self._hosts):
            return True
        address, local = _address(name.strip("[]")), _address(request.local[0])
        return address is not None and address == local and port == self._port


def is_loopback(host: str) -> bool:
    """Return True if an address is reachable from this device only."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def is_unspecified(host: str) -> bool:
    """Return True if an address stands for all addresses of this device."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _allowed_hosts(settings: PageSettings, port: int) -> frozenset[tuple[str, int | None]]:
    """Return the allowed names, each with a port; None for a Host header without port."""
    names: list[str] = []
    if is_loopback(settings.host) or is_unspecified(settings.host):
        names += ["localhost", "127.0.0.1", "[::1]"]
    if not is_loopback(settings.host):
        own = socket.gethostname().lower()
        names += [own, own.partition(".")[0], f"{own.partition('.')[0]}.local"]
    if not is_unspecified(settings.host):
        names.append(f"[{settings.host.lower()}]" if ":" in settings.host else settings.host.lower())
    hosts: set[tuple[str, int | None]] = {(name, port) for name in names}
    for entry in settings.allowed_hosts:
        match = _HOST.fullmatch(entry)
        if match is None:
            raise InputError(f"page_hosts has {entry!r}: give names, with a port if needed, such as bees.example.org")
        hosts |= {(match[1], int(match[2]))} if match[2] else {(match[1], port), (match[1], None)}
    return frozenset(hosts)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
