"""A page in this process, and a signed-in client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.page_client import PageClient, PretendedAgent, page_of, serving


@pytest.fixture
def agent(tmp_path: Path) -> PretendedAgent:
    return PretendedAgent(places=tmp_path / "places.toml")


@pytest.fixture
def stranger(agent: PretendedAgent, caplog: pytest.LogCaptureFixture) -> Iterator[PageClient]:
    page = page_of(agent)
    with serving(page, caplog) as token:
        client = PageClient(page.port)
        client.token = token
        yield client


@pytest.fixture
def editor(stranger: PageClient) -> PageClient:
    client = PageClient(stranger.port)
    assert client.sign_in(token=stranger.token).json == {"role": "editor"}
    return client
