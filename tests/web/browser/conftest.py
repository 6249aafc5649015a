"""A real browser, Debian's Chromium, with a real agent on the synthetic scene."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.beeagent_process import DEADLINE
from support.page_agent import PageAgent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK = {"viewport": {"width": 1440, "height": 900}}

_WATCH = """
    window.problems = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
        problems.push(`CSP: ${violatedDirective} ${blockedURI}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; they start an agent and a browser, each of which takes seconds."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed: apt install chromium")
    with api.sync_playwright() as playwright:
        # In a container, root has no sandbox and /dev/shm is small.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[PageAgent]:  # noqa: ARG001 - skips first
    agent = PageAgent(tmp_path_factory.mktemp("agent"), "--track")
    agent.start()
    yield agent
    agent.end()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages, each in a browser of its own; at the end, none had an error or broke the security policy."""
    contexts, problems = [], []

    def open_(url: str, *, expected: tuple[str, ...] = (), **options: Any) -> Page:  # noqa: ANN401 - as playwright has them
        context = chromium.new_context(**{**DESK, "locale": "en-GB", "timezone_id": "Europe/Berlin", **options})
        contexts.append(context)
        context.add_init_script(_WATCH)
        context.set_default_timeout(DEADLINE * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda line: (
                line.type == "error" and not any(text in line.text for text in expected) and problems.append(line.text)
            ),
        )
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        for page in context.pages:
            problems.extend(page.evaluate("window.problems"))
        context.close()
    assert not problems


@pytest.fixture
def signed_in(agent: PageAgent, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Open the page as editor, with a first frame."""

    def open_(**options: Any) -> Page:  # noqa: ANN401 - as playwright has them
        if agent.session is None:
            page = open_page(agent.new_link(), **options)
        else:
            page = open_page(agent.url, storage_state=agent.session, **options)
        page.wait_for_selector("#stage[data-frame]")
        agent.session = page.context.storage_state()
        return page

    return open_


@pytest.fixture
def no_places(agent: PageAgent) -> None:
    """Begin without places, as by an editor of text."""
    agent.places.write_text("", encoding="utf-8")
