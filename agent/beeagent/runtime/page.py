"""The connection of the page to the parts of the running agent."""

from beeagent.runtime.counting import Counting
from beeagent.runtime.http import health_resources
from beeagent.runtime.pipeline import Pipeline
from beeagent.runtime.reload import Reload
from beeagent.runtime.status import Health
from beeagent.runtime.threshold import PageThreshold
from beeagent.settings import Settings
from beeagent.web import AgentState, LiveView, Page, PageAgent


def build_page(  # noqa: PLR0913 - keywords
    settings: Settings,
    *,
    live: LiveView,
    health: Health,
    pipeline: Pipeline,
    counting: Counting | None,
    threshold: PageThreshold,
    reload: Reload,
) -> Page:
    """Build the page, whose socket listens at once, but is served only after its start.

    Args:
        settings: section `page`, and the names of device and camera.
        live: live view of the frames.
        health: state of the agent.
        pipeline: pipeline with the detectors.
        counting: tracking and counting; None without tracking.
        threshold: threshold in use.
        reload: reload, which sets the threshold.

    Raises:
        InputError: the page cannot listen on its address, or a file in its settings cannot be used.
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
        live.forget()  # its candidates are those of the previous threshold

    agent = PageAgent(
        device=settings.agent.device,
        camera=settings.camera.name,
        live=live,
        state=state,
        threshold=lambda: threshold.as_json(pipeline.detectors.lowest),
        set_threshold=set_threshold,
        partial=lambda: pipeline.detectors.has_regions,
        input_scale=lambda frame: pipeline.detectors.input_scale(frame),  # noqa: PLW0108 - the detectors may be swapped
        tracking=counting is not None,
        counts=dict if counting is None else counting.today,
        places=None if counting is None else counting.places_file,
        reload_places=lambda: None if counting is None else counting.reload(),
        history=None if counting is None else counting.history_file,
        resources=health_resources(health),
    )
    return Page(settings.page, agent)
