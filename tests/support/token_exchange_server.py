"""A mock of Greengrass's Token Exchange Service: returns expiring credentials to clients with its token."""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from typing_extensions import Self

AUTHORIZATION_TOKEN: Final = "token-of-the-component-SECRET"  # noqa: S105 - opens nothing
LIFETIME: Final = timedelta(hours=1)


class TokenExchangeServer:
    """Serves `/2016-11-01/credentialprovider/` on 127.0.0.1, as the nucleus does.

    Args:
        now: the time by which credentials expire.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._issued: dict[str, tuple[str, str, datetime]] = {}
        self.failing = False
        self.unauthorized = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = outer._give(self.path, self.headers["Authorization"])
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/2016-11-01/credentialprovider/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def secrets(self) -> list[str]:
        """Everything that no log may show."""
        return [AUTHORIZATION_TOKEN, *(text for secret, token, _ in self._issued.values() for text in (secret, token))]

    @property
    def issued(self) -> list[str]:
        """The issued access keys, in order."""
        return list(self._issued)

    def secret_of(self, access_key: str, token: str | None) -> str | None:
        """Return the secret of an access key and session token."""
        secret, expected, _ = self._issued.get(access_key, (None, None, None))
        return secret if token == expected else None

    def refusal_of(self, access_key: str) -> str | None:
        """Say how the service refuses credentials that have expired."""
        if access_key in self._issued and self._now() >= self._issued[access_key][2]:
            return "ExpiredTokenException"
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _give(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        if authorization != AUTHORIZATION_TOKEN or path != "/2016-11-01/credentialprovider/":
            self.unauthorized += 1
            return 403, b"{}"
        if self.failing:
            return 500, b"{}"
        number = len(self._issued) + 1
        key, secret, token = f"ASIA{number:04}", f"SECRET-key-{number:04}", f"SECRET-session-token-{number:04}"
        expires = self._now() + LIFETIME
        self._issued[key] = (secret, token, expires)
        return 200, json.dumps(
            {
                "AccessKeyId": key,
                "SecretAccessKey": secret,
                "Token": token,
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()
