"""The page: its HTTP API, roles, and sign-in link."""

import json
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from beeagent.errors import BeeagentError, InputError
from beeagent.messages import rfc3339
from beeagent.settings import PageSettings
from beeagent.tracking import read_traffic, validate_places
from beeagent.web.access import OneTimeToken, Passwords, Role, Sessions, Throttle, read_passwords
from beeagent.web.aim import aim_json, measure_aim, object_sizes
from beeagent.web.live import LiveView
from beeagent.web.origins import Origins, is_loopback, is_unspecified
from beeagent.web.places import PlacesFile, StaleError
from beeagent.web.server import HttpServer, RefusedError, Request, Response, load_certificate, tls_context

_LOG: Final = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 64
_MAX_BODY: Final = 64 * 1024
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_LIVE_TIMEOUT_S: Final = 10.0
_AIM_INTERVAL_S: Final = 0.5
_COOKIE_AGE_S: Final = 7 * 86400
_JSON: Final = "application/json; charset=utf-8"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """The state of the agent.

    Attributes:
        model: identity of the model.
        state: published state, such as `online`, `degraded` or `asleep`.
        reasons: current problems, one line each.
        frames_per_s: frames processed per second.
        frame_age_s: seconds since the capture of the newest frame; None before the first.
    """

    model: str
    state: str
    reasons: tuple[str, ...]
    frames_per_s: float
    frame_age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAgent:
    """The interface between the page and the agent. All functions are thread-safe.

    Attributes:
        device: name of the device.
        camera: name of the camera.
        live: the newest frame.
        state: returns the state of the agent.
        threshold: returns the threshold in the format of the page's API.
        set_threshold: changes the threshold and saves it; None restores the threshold of the settings.
        partial: returns True if detections below the threshold are known only for regions of each frame.
        input_scale: returns the pixels of the model's input per pixel of a frame of the given size.
        tracking: True if bees are tracked.
        counts: returns today's traffic in the format of the page's API.
        places: places file; None without one.
        reload_places: reads the places file again.
        history: file of counts per minute; None without one.
        resources: further resources for signed-in clients, by path.
    """

    device: str
    camera: str
    live: LiveView
    state: Callable[[], AgentState]
    threshold: Callable[[], dict[str, Any]]
    set_threshold: Callable[[float | None], None]
    partial: Callable[[], bool]
    input_scale: Callable[[tuple[int, int]], float]
    tracking: bool
    counts: Callable[[], dict[str, Any]]
    places: Path | None
    reload_places: Callable[[], None]
    history: Path | None
    resources: Mapping[str, Callable[[], Response]]


class Page:
    """Serves the page.

    A link with a token for a single sign-in is logged at the start and by `renew`.

    Args:
        settings: section `page` of the settings.
        agent: the agent.
        port: overrides the port of the settings; 0 for a free one.

    Raises:
        InputError: the port cannot be opened, or the password file or the certificate cannot be used.
    """

    def __init__(self, settings: PageSettings, agent: PageAgent, *, port: int | None = None) -> None:
        self._settings = settings
        self._agent = agent
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._token = OneTimeToken()
        self._attempt_lock = threading.Lock()
        self._passwords = Passwords({})
        if settings.password_file is not None:
            self._passwords = read_passwords(settings.password_file)
        self._places = None if agent.places is None else PlacesFile(agent.places, agent.reload_places)
        self._aim: tuple[int, float, dict[str, Any]] | None = None
        self._aim_lock = threading.Lock()
        self._static = {f"/static/{file.name}": file for file in _STATIC.iterdir() if file.suffix in _TYPES}
        self._static["/"] = _STATIC / "page.html"
        self._routes: dict[tuple[str, str], tuple[Role, Callable[[Request], Response]]] = {
            ("GET", "/api/live"): ("viewer", self._live),
            ("GET", "/api/state"): ("viewer", self._state),
            ("GET", "/api/traffic"): ("viewer", self._traffic),
            ("GET", "/api/places"): ("viewer", self._get_places),
            ("PUT", "/api/places"): ("editor", self._put_places),
            ("POST", "/api/threshold/preview"): ("viewer", self._preview),
            ("PUT", "/api/threshold"): ("editor", self._put_threshold),
            ("GET", "/api/session"): ("viewer", self._get_session),
            ("DELETE", "/api/session"): ("viewer", self._sign_out),
        }
        for path, resource in agent.resources.items():
            self._routes["GET", path] = "viewer", lambda _, get=resource: get()  # type: ignore[misc]
        self._tls = None
        if settings.certificate_file is not None:
            self._tls = tls_context(settings.certificate_file, settings.key_file, setting="page")
        elif settings.key_file is not None:
            raise InputError("page_key_file is set, but page_certificate_file is not: set both, or none for HTTP")
        self._server = HttpServer(
            self.respond,
            host=settings.host,
            port=settings.port if port is None else port,
            setting="page",
            methods=_METHODS,
            headers=_HEADERS,
            max_connections=_MAX_CONNECTIONS,
            max_body=_MAX_BODY,
            keep_alive=True,
            tls=self._tls,
        )
        self._origins = Origins(settings, port=self._server.port)
        self._cookie = f"{'' if self._tls is None else '__Host-'}beeagent-{self._server.port}"

    @property
    def port(self) -> int:
        """Port of the server."""
        return self._server.port

    def start(self) -> None:
        """Start serving, and log the sign-in link."""
        self._server.start()
        if self._tls is None and not is_loopback(self._settings.host):
            _LOG.warning(
                "page: served without encryption at %s, so others in the network may read it; set "
                "page_certificate_file, or use it only in a network that you trust",
                self._settings.host,
            )
        self.renew()

    def renew(self) -> None:
        """Read passwords and certificate again, and log a new link; the previous link becomes invalid."""
        try:
            if self._settings.password_file is not None:
                self._passwords = read_passwords(self._settings.password_file)
            if self._tls is not None and self._settings.certificate_file is not None:
                load_certificate(self._tls, self._settings.certificate_file, self._settings.key_file, setting="page")
        except InputError as error:
            _LOG.warning("page: the previous passwords and certificate stay in use: %s", error)
        if self._passwords.has("editor"):
            _LOG.info("page: %s", self._url())
            return
        token = self._token.renew()
        links = " or ".join(f"{url}/#token={token}" for url in (self._url(), self._numeric_url()) if url)
        _LOG.info("page: sign in within an hour, once, at %s (SIGHUP logs a new link)", links)

    def stop(self) -> None:
        """Stop serving. Idempotent; also valid without `start`."""
        self._agent.live.close()
        self._server.stop()

    def respond(self, request: Request) -> Response:
        """Return the response to a request. Never raises, because an exception here would end the agent."""
        try:
            return self._respond(request)
        except RefusedError as error:
            return _json(error.status, {"error": str(error)}, error.headers)
        except BeeagentError as error:
            return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)})
        except Exception:  # noqa: BLE001 - would end the agent
            _LOG.exception("page: %s %s failed", request.method, request.path[:40].encode("ascii", "replace"))
            return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "internal error: see the agent's log"})

    def _respond(self, request: Request) -> Response:
        self._origins.check(request)
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET" and (file := self._static.get(request.path)) is not None:
            return Response(HTTPStatus.OK, file.read_bytes(), _TYPES[file.suffix])
        if (method, request.path) == ("POST", "/api/session"):
            return self._sign_in(request)
        role = self._role(request)
        if role is None:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "sign in first")
        request.trust()
        if (route := self._routes.get((method, request.path))) is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such resource")
        needed, handle = route
        if needed == "editor" and role != "editor":
            raise RefusedError(HTTPStatus.FORBIDDEN, "viewers cannot change anything: sign in as editor")
        return handle(request)

    def _role(self, request: Request) -> Role | None:
        pairs = [pair.strip().partition("=") for pair in (request.header("Cookie") or "").split(";")]
        tokens = [value for name, _, value in pairs if name == self._cookie]
        return self._sessions.role(tokens[0]) if len(tokens) == 1 else None

    def _sign_in(self, request: Request) -> Response:
        body = _body(request)
        token, password = body.get("token"), body.get("password")
        if isinstance(token, str) == isinstance(password, str) or len(body) != 1:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "give a token or a password")
        # A valid token is exempt from the throttle, so that other clients cannot lock the owner out.
        if isinstance(token, str) and self._token.use(token):
            role: Role = "editor"
        else:
            with self._attempt_lock:  # concurrent attempts must not bypass the throttle
                role = self._check_password(request.client, password)
        self._throttle.succeeded(request.client)
        _LOG.info("page: signed in as %s from %s", role, request.client)
        return _json(HTTPStatus.OK, {"role": role}, self._set_cookie(self._sessions.begin(role), _COOKIE_AGE_S))

    def _check_password(self, client: str, password: str | None) -> Role:
        """Return the role of a password; None stands for an invalid token. Failed attempts are throttled."""
        if (wait := math.ceil(self._throttle.wait_s(client))) > 0:
            text = f"too many wrong tries: wait {wait} s"
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, text, {"Retry-After": str(wait)})
        role = None if password is None else self._passwords.role(password)
        if role is None:
            self._throttle.failed(client)
            _LOG.warning("page: wrong %s from %s", "or used link" if password is None else "password", client)
            reason = "this link was used or is too old: SIGHUP logs another" if password is None else "wrong password"
            raise RefusedError(HTTPStatus.UNAUTHORIZED, reason)
        return role

    def _sign_out(self, request: Request) -> Response:
        pairs = [pair.strip().partition("=") for pair in (request.header("Cookie") or "").split(";")]
        for name, _, value in pairs:
            if name == self._cookie:
                self._sessions.end(value)
        return Response(HTTPStatus.NO_CONTENT, headers=self._set_cookie("", 0))

    def _set_cookie(self, value: str, age_s: int) -> dict[str, str]:
        secure = "" if self._tls is None else "; Secure"
        return {"Set-Cookie": f"{self._cookie}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"}

    def _get_session(self, request: Request) -> Response:
        return _json(HTTPStatus.OK, {"role": self._role(request)})

    def _live(self, request: Request) -> Response:
        after = _query(request).get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "after is not the id of a frame")
        content = self._agent.live.wait(after=int(after), timeout=_LIVE_TIMEOUT_S)
        return Response(HTTPStatus.NO_CONTENT) if content is None else Response(HTTPStatus.OK, content, _JSON)

    def _state(self, request: Request) -> Response:
        agent, now = self._agent, self._agent.state()
        newest = agent.live.newest()
        return _json(
            HTTPStatus.OK,
            {
                "role": self._role(request),
                "device": agent.device,
                "camera": agent.camera,
                "model": now.model,
                "state": now.state,
                "reasons": list(now.reasons),
                "frames_per_s": round(now.frames_per_s, 1),
                "frame_age_s": None if now.frame_age_s is None else round(now.frame_age_s, 1),
                "inference_ms": None if newest is None else round(newest.inference_ms, 1),
                "aim": self._measured_aim(),
                "threshold": agent.threshold(),
                "tracking": agent.tracking,
                "places_file": self._places is not None,
                "places_problem": None if self._places is None else self._places.problem,
                "places": agent.counts(),
            },
        )

    def _measured_aim(self) -> dict[str, Any] | None:
        newest = self._agent.live.newest()
        if newest is None:
            return None
        with self._aim_lock:  # measured once for all viewers
            now = time.monotonic()
            if self._aim is None or (self._aim[0] != newest.id and now >= self._aim[1] + _AIM_INTERVAL_S):
                threshold = float(self._agent.threshold()["value"])
                sizes = object_sizes(self._agent.live.recent, threshold=threshold, input_scale=self._agent.input_scale)
                self._aim = newest.id, now, aim_json(measure_aim(newest.frame.pixels), sizes)
            return self._aim[2]

    def _traffic(self, request: Request) -> Response:
        text = _query(request).get("hours", "24")
        hours = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
        if not 1 <= hours <= 168:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "hours may be 1 to 168")
        step_s = 60 if hours <= 3 else 600 if hours <= 48 else 3600
        now = datetime.now(timezone.utc)
        begin = datetime.fromtimestamp((now - timedelta(hours=hours)).timestamp() // step_s * step_s, timezone.utc)
        rows = []
        if self._agent.history is not None:
            rows = read_traffic(self._agent.history, since=begin, step_minutes=step_s // 60)
        content = [
            {"at": rfc3339(at), "place": place, "label": label, "in": into, "out": out}
            for at, place, label, into, out in rows
        ]
        return _json(HTTPStatus.OK, {"from": rfc3339(begin), "step_s": step_s, "rows": content})

    def _get_places(self, _: Request) -> Response:
        try:
            etag, places = self._file().read()
        except InputError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return _json(HTTPStatus.OK, places.model_dump(by_alias=True), {"ETag": etag})

    def _put_places(self, request: Request) -> Response:
        file, etag = self._file(), request.header("If-Match")
        if etag is None:
            raise RefusedError(HTTPStatus.PRECONDITION_REQUIRED, "send If-Match with the ETag of the places")
        try:
            places = validate_places(_body(request))
            etag = file.write(places, etag=etag)
        except InputError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except StaleError as error:
            raise RefusedError(HTTPStatus.CONFLICT, str(error)) from error
        return _json(HTTPStatus.OK, places.model_dump(by_alias=True), {"ETag": etag})

    def _file(self) -> PlacesFile:
        if self._places is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "bees are not tracked: start the agent with --track or --places")
        return self._places

    def _preview(self, request: Request) -> Response:
        value = _threshold(_body(request))
        threshold = self._agent.threshold()
        if value is None or value < threshold["lowest"]:
            lowest = threshold["lowest"]
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"value must be at least {lowest:g}")
        frames = [
            (len(candidates.at_least(threshold["value"])), len(candidates.at_least(value)))
            for candidates, _ in self._agent.live.recent
        ]
        count = max(1, len(frames))
        now, then = sum(current for current, _ in frames), sum(new for _, new in frames)
        return _json(
            HTTPStatus.OK,
            {
                "value": value,
                "frames": len(frames),
                "at_least": value < threshold["value"] and self._agent.partial(),
                "now": {"per_frame": round(now / count, 3)},
                "then": {
                    "per_frame": round(then / count, 3),
                    "added": max(0, then - now),
                    "removed": max(0, now - then),
                },
            },
        )

    def _put_threshold(self, request: Request) -> Response:
        self._agent.set_threshold(_threshold(_body(request)))
        return _json(HTTPStatus.OK, self._agent.threshold())

    def _url(self) -> str:
        return self._settings.model_copy(update={"enabled": True, "port": self.port}).url or ""

    def _numeric_url(self) -> str | None:
        """Return the URL with the IP address of this device, if the page is served on all addresses."""
        if self._settings.hosts or not is_unspecified(self._settings.host):
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses the address of this end
                address = probe.getsockname()[0]
            except OSError:  # without a network
                return None
        return f"{'http' if self._tls is None else 'https'}://{address}:{self.port}"


def _json(status: HTTPStatus, content: object, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False).encode(errors="replace")
    return Response(status, body, _JSON, headers or {})


def _body(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error
    if not isinstance(content, dict):
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "give a JSON object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _query(request: Request) -> dict[str, str]:
    try:
        return {name: values[0] for name, values in parse_qs(request.query, max_num_fields=8).items()}
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the query cannot be read") from error


def _threshold(body: Mapping[str, Any]) -> float | None:
    value = body.get("value")
    if "value" in body and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "give value, 0.01 to 1")
    return float(value)
