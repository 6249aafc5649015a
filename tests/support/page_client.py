"""A client of the page, and a page with a fake agent."""

import http.client
import json
import logging
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.camera import Frame
from beeagent.detection import Detections
from beeagent.settings import PageSettings
from beeagent.web import AgentState, LiveView, Page, PageAgent, Response

DEADLINE = 45.0
LINK = re.compile(r"https?://\S+?:(\d+)/#token=([A-Za-z0-9_-]+)")


@dataclass(frozen=True)
class Answer:
    """A response of the page."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body as JSON."""
        return json.loads(self.body)


class PageClient:
    """Sends requests as the page's own script does, each on a connection of its own; keeps the cookie."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> None:
        self.port = port
        self.tls = tls
        self.origin = f"{'http' if tls is None else 'https'}://{name}:{port}"
        self.cookie: str | None = None
        self.token = ""  # of the link, if a fixture knows it

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Send a request, with other headers where they are given; None leaves one out."""
        content = raw if raw is not None or body is None else json.dumps(body).encode()
        sent: dict[str, str | None] = {"Host": self.origin.partition("://")[2]}
        if method not in {"GET", "HEAD"}:
            sent |= {"Origin": self.origin, "Content-Type": "application/json"}
        if self.cookie is not None:
            sent["Cookie"] = self.cookie
        sent |= headers or {}
        with closing(self._connection()) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if content is not None:
                connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def sign_in(self, **body: str) -> Answer:
        """Sign in with a token or password, and keep the cookie."""
        answer = self.ask("POST", "/api/session", body)
        if answer.status == HTTPStatus.OK:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=DEADLINE, context=self.tls)


@dataclass
class PretendedAgent:
    """A fake agent for the page."""

    live: LiveView = field(default_factory=LiveView)
    thresholds: list[float | None] = field(default_factory=list)
    reloads: int = 0
    places: Path | None = None
    partial: bool = False
    history: Path | None = None

    def show(self, *confidences: float, side: int = 64, threshold: float = 0.5) -> None:
        """Let a frame with detections of these confidences come from the pipeline."""
        frame = Frame(np.full((side, 2 * side, 3), 90, np.uint8), datetime.now(timezone.utc), 0, 0)
        candidates = detections(sorted(confidences, reverse=True))
        found = candidates.at_least(threshold)
        self.live.add(frame, detections=found, candidates=candidates, tracks=[7] * len(found), inference_ms=12.34)

    def _reload(self) -> None:
        self.reloads += 1

    def page_agent(self) -> PageAgent:
        """Return it for a page."""
        return PageAgent(
            device="secret-device",
            camera="front",
            live=self.live,
            state=lambda: AgentState(
                model="bees@12345678", state="degraded", reasons=("camera: gone",), frames_per_s=9.87, frame_age_s=None
            ),
            threshold=lambda: {"value": 0.5, "default": 0.5, "source": "model", "lowest": 0.25},
            set_threshold=self.thresholds.append,
            partial=lambda: self.partial,
            input_scale=lambda _: 0.5,
            tracking=True,
            counts=lambda: {"door": {"kind": "line", "labels": {"bee": {"in": 3, "out": 2}}}},
            places=self.places,
            reload_places=self._reload,
            history=self.history,
            resources={"/healthz": lambda: Response(HTTPStatus.OK, b"healthy")},
        )


def detections(confidences: Sequence[float]) -> Detections:
    """Return bees of these confidences, all in one place."""
    count = len(confidences)
    boxes = np.tile(np.array([0.25, 0.25, 0.5, 0.75], np.float32), (count, 1))
    return Detections(boxes, np.array(confidences, np.float32), np.zeros(count, np.int64), ("bee",))


@contextmanager
def serving(page: Page, caplog: Any) -> Iterator[str]:  # noqa: ANN401 - pytest's, which this module does not import
    """While entered, serve a page; yield the token of its link, or nothing."""
    with caplog.at_level(logging.INFO):
        page.start()
    link = LINK.search(caplog.messages[-1])
    try:
        yield "" if link is None else link[2]
    finally:
        page.stop()


def page_of(agent: PretendedAgent, **settings: Any) -> Page:  # noqa: ANN401 - any setting
    """Return a page on a free port."""
    return Page(PageSettings(enabled=True, **settings), agent.page_agent(), port=0)
