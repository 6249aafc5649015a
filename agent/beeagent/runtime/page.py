"""Connects the page to the parts of the running agent."""

from beeagent.runtime.counting import Counting
from beeagent.runtime.http import health_resources
from beeagent.runtime.pipeline import Pipeline
from beeagent.runtime.reload import Reload
from beeagent.runtime.status import Health
from beeagent.runtime.threshold import PageThreshold
from beeagent.settings import Settings
from beeagent.web import AgentState, LiveView, Page, PageAgent


def build_page(  # noqa: PLR0913 - the parts that it shows
    settings: Settings,
    *,
    live: LiveView,
    health: Health,
    pipeline: Pipeline,
    counting: Counting | None,
    threshold: PageThreshold,
    reload: Reload,
) -> Page:
    """Build the page; it listens, but serves nothing before it is started.

    Args:
        settings: section `page`, and the names of device and camera.
        live: the newest frame.
        health: the state of the agent.
        pipeline: has the detectors.
        counting: tracks and counts; None without tracking.
        threshold: the threshold in use.
        reload: sets the threshold.

    Raises:
        InputError: it cannot listen there, or a file of its settings cannot be used.
    """

    def state() -> AgentState:
        now = health.snapshot()
        asleep = now.asleep is not None and now.state == "online"
        return AgentState(
            model=now.model,
            state="asleep" if asleep else now.state,
            reasons=now.reasons,
            frames_per_s=now.camera.frames_per_s,
            frame_age_s=now.camera.frame_age_s,
        )

    def set_threshold(value: float | None) -> None:
        reload.set_threshold(value)
        live.forget()  # its candidates were those of another threshold

    agent = PageAgent(
        device=settings.agent.device,
        camera=settings.camera.name,
        live=live,
        state=state,
        threshold=lambda: threshold.as_json(pipeline.detectors.lowest),
        set_threshold=set_threshold,
        partial=lambda: pipeline.detectors.has_regions,
        input_scale=lambda frame: pipeline.detectors.input_scale(frame),  # noqa: PLW0108 - those of that moment
        tracking=counting is not None,
        counts=dict if counting is None else counting.today,
        places=None if counting is None else counting.places_file,
        reload_places=lambda: None if counting is None else counting.reload(),
        history=None if counting is None else counting.history_file,
        resources=health_resources(health),
    )
    return Page(settings.page, agent)
