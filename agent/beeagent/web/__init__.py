"""The page and the server that serves it, and the metrics: limits, sign-in, live frames, places and threshold.

Nothing here knows of the running agent: `beeagent.runtime` passes in what the page shows and may change.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.web.access import write_password
    from beeagent.web.live import LiveView
    from beeagent.web.page import AgentState, Page, PageAgent
    from beeagent.web.server import HttpServer, Request, Response
else:  # a type checker would accept any name
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
