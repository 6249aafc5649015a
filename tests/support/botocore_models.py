"""AWS's own models of its services, read once: botocore reads them again for each session, and sessions are many."""

import functools

import pytest
from botocore.loaders import create_loader

_shared_loader = functools.cache(create_loader)


def share_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all sessions of a test use the models that an earlier one has read."""
    monkeypatch.setattr("botocore.session.create_loader", _shared_loader)
