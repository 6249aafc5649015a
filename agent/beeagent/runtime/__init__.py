"""The running agent: factory of its parts, pipeline, results, status and HTTP server.

The public names are imported on first use (PEP 562), so that the command line starts without NumPy and OpenCV.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent.runtime.agent import Agent
    from beeagent.runtime.component import run_component
    from beeagent.runtime.factory import (
        advisable_model,
        advise_model,
        build_publisher,
        build_source,
        load_model,
        thread_count,
        worker_count,
    )
    from beeagent.runtime.pipeline import FrameResult
    from beeagent.runtime.reload import RELOADED
    from beeagent.runtime.run import exit_at_once, run_agent, run_until
    from beeagent.runtime.workers import choose_workers
else:  # `__getattr__` would make a type checker accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "agent": ("Agent",),
            "component": ("run_component",),
            "factory": (
                "advisable_model",
                "advise_model",
                "build_publisher",
                "build_source",
                "load_model",
                "thread_count",
                "worker_count",
            ),
            "pipeline": ("FrameResult",),
            "reload": ("RELOADED",),
            "run": ("exit_at_once", "run_agent", "run_until"),
            "workers": ("choose_workers",),
        },
    )

__all__ = [
    "RELOADED",
    "Agent",
    "FrameResult",
    "advisable_model",
    "advise_model",
    "build_publisher",
    "build_source",
    "choose_workers",
    "exit_at_once",
    "load_model",
    "run_agent",
    "run_component",
    "run_until",
    "thread_count",
    "worker_count",
]
