import pytest
from bee_detection_inference.settings import Settings, settings_of

ENVIRONMENT = {"PROJECT_VERSION_ARN": "arn:of:a:model", "MIN_CONFIDENCE": "62.5", "QUEUE_URL": "https://queue"}


def test_settings_come_from_the_environment() -> None:
    assert settings_of(ENVIRONMENT) == Settings("arn:of:a:model", 62.5, "https://queue")


@pytest.mark.parametrize("value", ["-1", "100.1", "nan", "many"])
def test_a_confidence_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"MIN_CONFIDENCE|could not convert"):
        settings_of({**ENVIRONMENT, "MIN_CONFIDENCE": value})


@pytest.mark.parametrize("name", list(ENVIRONMENT))
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        settings_of({key: value for key, value in ENVIRONMENT.items() if key != name})
