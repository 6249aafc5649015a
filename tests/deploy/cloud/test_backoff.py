from bee_detection_inference.backoff import MAX_DELAY_S, wait_s
from hypothesis import given
from hypothesis import strategies as st

codes = st.sampled_from(["ThrottlingException", "ResourceNotReadyException", "what nobody knows"]) | st.text()
receives = st.integers(-3, 10**9)


@given(codes, receives, st.uuids().map(str))
def test_a_wait_is_one_that_sqs_takes_and_never_shrinks(code: str, count: int, message_id: str) -> None:
    wait = wait_s(code, receives=count, message_id=message_id)
    assert 0 < wait <= MAX_DELAY_S
    assert wait <= wait_s(code, receives=count + 1, message_id=message_id)


@given(st.uuids().map(str), st.integers(1, 10))
def test_throttled_message_waits_less(message_id: str, count: int) -> None:
    throttled, other = (
        wait_s(code, receives=count, message_id=message_id)
        for code in ("ProvisionedThroughputExceededException", "ResourceNotReadyException")
    )
    assert throttled < other or other > 0.74 * MAX_DELAY_S


def test_messages_that_failed_together_come_back_spread() -> None:
    waits = {wait_s("ThrottlingException", receives=6, message_id=str(number)) for number in range(100)}
    assert len(waits) > 40
    assert min(waits) >= 240
    assert max(waits) <= 320


def test_it_is_the_same_wait_again() -> None:
    assert wait_s("x", receives=3, message_id="a") == wait_s("x", receives=3, message_id="a")
