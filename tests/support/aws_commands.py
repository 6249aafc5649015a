"""Runs commands that call AWS, with moto and a mock of Rekognition."""

from collections.abc import Callable, Iterator

import pytest
from beeagent.cli.app import main

from support.custom_labels_account import CustomLabelsAccount
from support.moto_aws import REGION, aws, moto
from support.rekognition_server import RekognitionServer

__all__ = ["Run", "account", "aws", "moto", "run"]

Run = Callable[..., tuple[int, str, str]]
"""Takes the command line's words; gives the exit code, standard output and standard error."""


@pytest.fixture
def account(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CustomLabelsAccount]:  # noqa: ARG001 - a fixture
    with RekognitionServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", server.url)
        yield CustomLabelsAccount(server, region=REGION)


@pytest.fixture
def run(
    account: CustomLabelsAccount,  # noqa: ARG001 - whom it asks
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["beeagent", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output, error = capsys.readouterr()
        assert len(error.splitlines()) <= 1
        return int(ended.value.code or 0), output, error

    return run
