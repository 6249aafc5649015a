"""HTTP server for the page and the metrics, with its limits; sign-in, live frames, places and threshold of the page.

This package does not depend on the running agent: `beeagent.runtime` passes in the data and functions of the page.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.web.access import write_password
    from beeagent.web.live import LiveView
    from beeagent.web.page import AgentState, Page, PageAgent
    from beeagent.web.server import HttpServer, Request, Response
else:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "access": ("write_password",),
            "live": ("LiveView",),
            "page": ("AgentState", "Page", "PageAgent"),
            "server": ("HttpServer", "Request", "Response"),
        },
    )

__all__ = [
    "AgentState", "HttpServer", "LiveView", "Page", "PageAgent", "Request", "Response", "write_password",
]  # fmt: skip
