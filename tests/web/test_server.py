"""The HTTP server of the page and the metrics; `test_attacks.py` and `runtime/test_http.py` have its other limits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from beeagent.web import HttpServer, Response
from support.page_client import DEADLINE, PageClient


def test_request_does_not_time_out_while_the_app_works_on_it() -> None:
    """A password is checked at a low priority: on a busy machine, that takes longer than a client may take."""
    asked, go_on = threading.Event(), threading.Event()

    def app(_: object) -> Response:
        asked.set()
        go_on.wait(DEADLINE)
        return Response(HTTPStatus.OK, b"at last")

    server = HttpServer(app, host="127.0.0.1", port=0, setting="http")
    server.start()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(PageClient(server.port).ask, "GET", "/")
            assert asked.wait(DEADLINE)
            with PageClient(server.port).connect() as silent:
                assert silent.recv(1) == b""  # timed out, though it came later
            go_on.set()
            assert answer.result().body == b"at last"
    finally:
        go_on.set()
        server.stop()
