import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from bee_detection_inference.uploads import NotAnEventError, Upload, is_image, result_key, uploads_of
from hypothesis import given
from hypothesis import strategies as st

# What S3 takes as a key: any text that UTF-8 can carry.
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["Records", "s3", "object", "bucket", "key", "name", "eTag", "eventName", "Event"]), inner
        )
    ),
)


def record(key: str, **changes: object) -> dict[str, Any]:
    """As in the documentation of S3."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "my-bees", "arn": "arn:aws:s3:::my-bees"},
            "object": {
                "key": quote_plus(key),
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
        **changes,
    }


@given(st.lists(keys, max_size=3))
def test_all_objects_of_an_event_are_returned(keys: list[str]) -> None:
    assert uploads_of(json.dumps({"Records": [record(key) for key in keys]})) == tuple(
        Upload("my-bees", key) for key in keys
    )


def test_test_event_and_other_events_have_no_uploads() -> None:
    assert uploads_of('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"my-bees","RequestId":"5582815E"}') == ()
    assert uploads_of(json.dumps({"Records": [record("a.jpg", eventName="ObjectRemoved:Delete")]})) == ()


@pytest.mark.parametrize("key", ["%ff", "\ud800"])
def test_key_that_is_not_unicode_is_refused(key: str) -> None:
    event = record("a.jpg")
    event["s3"]["object"]["key"] = key
    with pytest.raises(NotAnEventError):
        uploads_of(json.dumps({"Records": [event]}))


@given(documents.map(json.dumps) | st.text())
def test_other_messages_in_the_queue_are_refused(body: str) -> None:
    try:
        uploads = uploads_of(body)
    except NotAnEventError:
        return
    assert all(isinstance(upload, Upload) for upload in uploads)


def test_a_body_that_nests_too_deep_is_refused() -> None:
    with pytest.raises(NotAnEventError):
        uploads_of("[" * 200_000)


@given(keys)
def test_result_key_is_beside_the_image_and_no_image(stem: str) -> None:
    for suffix in (".jpg", ".JPG"):
        key = f"test_images/{stem}{suffix}"
        assert is_image(key)
        assert result_key(key) == f"test_images/{stem}.json"
        assert not is_image(result_key(key))
