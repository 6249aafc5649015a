"""AWS service models, read once: botocore would read them for each of many sessions."""

import functools

import botocore.session
import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel

_shared_loader = functools.cache(create_loader)


@functools.cache
def service_model(service: str) -> ServiceModel:
    """Return the model of a service, such as `rekognition`."""
    return botocore.session.get_session().get_service_model(service)


def share_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all sessions of a test use the models that an earlier one has read."""
    monkeypatch.setattr("botocore.session.create_loader", _shared_loader)
