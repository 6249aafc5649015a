"""Each unsure frame gets exactly one answer, in time, whatever the cloud does."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timezone

import numpy as np
import pytest
from beeagent.backoff import Backoff
from beeagent.camera import Frame
from beeagent.cloud.breaker import CircuitBreaker
from beeagent.cloud.budget import CallBudget
from beeagent.cloud.gate import Gate
from beeagent.cloud.reason import NoOpinionError
from beeagent.cloud.rekognition import RekognitionClient, RekognitionOptions
from beeagent.cloud.second_opinion import Looker, Opinion, SecondOpinion
from beeagent.cloud.throttle import Throttle
from beeagent.detection.detections import Detections
from support.rekognition_server import PROJECT_VERSION_ARN, Fault, Hold, Labels, RekognitionServer, Reset, Rubbish

DEADLINE = 30.0
LONG = 600.0  # seconds that no test waits for


def seen(left: float = 0.1, confidence: float = 0.5) -> Detections:
    box = np.array([[left, 0.1, left + 0.1, 0.2]], np.float32)
    return Detections(box, np.array([confidence], np.float32), np.zeros(1, np.int64), ("bee",))


def frame(index: int = 0, *, at_s: float = 1000.0) -> Frame:
    pixels = np.full((64, 64, 3), index % 256, np.uint8)
    return Frame(pixels, datetime.now(timezone.utc), int(at_s * 1e9), index)


def gate(
    *, per_minute: int = 1000, per_day: int = 1000, failures: int = 1000, clock: Callable[[], float] = time.monotonic
) -> Gate:
    return Gate(
        budget=CallBudget(None, per_minute=per_minute, per_day=per_day),
        breaker=CircuitBreaker(failures=failures, backoff=Backoff(first=60, longest=600), clock=clock),
        throttle=Throttle(backoff=Backoff(first=60, longest=600), clock=clock),
    )


@contextmanager
def running(looker: Looker, through: Gate | None = None, **options: float) -> Iterator[SecondOpinion]:
    opinion = SecondOpinion(looker, through or gate(), **{"timeout": LONG, "same_for": 0, **options})
    opinion.start()
    try:
        yield opinion
    finally:
        opinion.stop()


def client(server: RekognitionServer, *, timeout: float = 20.0) -> RekognitionClient:
    return RekognitionClient(
        RekognitionOptions(project_version_arn=PROJECT_VERSION_ARN, endpoint_url=server.url, timeout=timeout)
    )


def answer(future: "Future[Opinion]") -> Opinion:
    return future.result(DEADLINE)


class Desk:
    """Someone to ask who answers when told to."""

    def __init__(self) -> None:
        self.asked: list[Frame] = []
        self._changed = threading.Condition()
        self._answers = 0

    def look(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        with self._changed:
            self.asked.append(frame)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._answers > 0, DEADLINE)
            self._answers -= 1
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), labels)

    def let_answer(self, times: int = 1) -> None:
        with self._changed:
            self._answers += times
            self._changed.notify_all()

    def wait_until_asked(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= times, DEADLINE)


def test_the_clouds_boxes_replace_the_edges(server: RekognitionServer) -> None:
    with running(client(server)) as opinion:
        told = answer(opinion.ask(frame(), seen()))
        assert (told.decided_by, told.reason) == ("cloud", None)
        assert told.detections.confidences.tolist() == pytest.approx([0.99968])
        server.will(Labels([]))
        assert len(answer(opinion.ask(frame(), seen())).detections) == 0
        counts = opinion.counts()
    assert (counts.asked, counts.cloud, counts.calls, counts.degraded) == (2, 2, 2, {})


def test_without_an_answer_the_edges_result_goes_out_and_says_why(server: RekognitionServer) -> None:
    server.will(Fault("ResourceNotReadyException"), Reset(), Rubbish(b"?"))
    edge = seen()
    with running(client(server), workers=1) as opinion:
        for reason in ("model-not-running", "timeout", "refused"):
            told = answer(opinion.ask(frame(), edge))
            assert (told.decided_by, told.reason) == ("edge-degraded", reason)
            assert told.detections is edge
        assert opinion.counts().degraded == {"model-not-running": 1, "timeout": 1, "refused": 1}


@pytest.mark.parametrize("drip", [False, True])
def test_a_service_that_does_not_come_to_an_end_costs_a_frame_its_time_out_and_no_more(
    server: RekognitionServer,
    drip: bool,  # noqa: FBT001 - parametrized
) -> None:
    hold = Hold(drip=drip)
    server.will(hold)
    with running(client(server), timeout=0.3, workers=1) as opinion:
        future = opinion.ask(frame(), seen())
        server.wait_for_requests(1)
        assert answer(future).reason == "timeout"
        hold.let_go.set()


def test_asking_never_waits_and_a_full_queue_is_told_at_once() -> None:
    desk = Desk()
    with running(desk, workers=2, queue=3) as opinion:
        under_way = [opinion.ask(frame(i), seen()) for i in range(2)]
        desk.wait_until_asked(2)
        queued = [opinion.ask(frame(i), seen()) for i in range(2, 5)]
        too_many = [opinion.ask(frame(i), seen()) for i in range(5, 8)]
        assert [future.result(0).reason for future in too_many] == ["queue-full"] * 3
        assert not any(future.done() for future in under_way + queued)
        desk.let_answer(5)
        assert [answer(future).decided_by for future in under_way + queued] == ["cloud"] * 5
        # Two workers take what is queued, so only the set is certain.
        assert {one.index for one in desk.asked[2:]} == {2, 3, 4}


def test_a_frame_whose_time_is_over_is_not_paid_for() -> None:
    desk = Desk()
    with running(desk, workers=1, timeout=0.2) as opinion:
        futures = [opinion.ask(frame(i), seen()) for i in range(3)]
        assert [answer(future).reason for future in futures] == ["timeout"] * 3
        desk.let_answer(9)
        assert answer(opinion.ask(frame(3), seen())).decided_by == "cloud"
        assert [one.index for one in desk.asked] == [0, 3]


def test_limits_are_told_and_cost_no_call(server: RekognitionServer) -> None:
    for limits, reason in (({"per_minute": 2}, "rate"), ({"per_day": 2}, "budget")):
        before = len(server.requests)
        with running(client(server), gate(**limits), queue=9) as opinion:
            reasons = [answer(opinion.ask(frame(i), seen())).reason for i in range(4)]
        assert reasons == [None, None, reason, reason]
        assert len(server.requests) - before == 2


def test_failures_open_the_breaker_and_a_probe_closes_it(server: RekognitionServer) -> None:
    now = [0.0]
    server.will(*[Fault("InternalServerError")] * 3)
    with running(client(server), gate(failures=3, clock=lambda: now[0])) as opinion:
        reasons = [answer(opinion.ask(frame(i), seen())).reason for i in range(5)]
        assert reasons == ["timeout"] * 3 + ["breaker-open"] * 2
        assert len(server.requests) == 3
        now[0] += 61
        assert [answer(opinion.ask(frame(i), seen())).decided_by for i in range(2)] == ["cloud"] * 2


def test_what_is_wrong_with_one_picture_does_not_open_the_breaker(server: RekognitionServer) -> None:
    server.will(*[Fault("InvalidImageFormatException")] * 3)
    with running(client(server), gate(failures=1)) as opinion:
        assert [answer(opinion.ask(frame(i), seen())).reason for i in range(4)] == ["refused"] * 3 + [None]


def test_a_throttled_call_keeps_the_next_ones_back_for_as_long_as_asked(server: RekognitionServer) -> None:
    now = [0.0]
    server.will(Fault("ProvisionedThroughputExceededException", retry_after="300"))
    with running(client(server), gate(failures=1, clock=lambda: now[0])) as opinion:
        assert answer(opinion.ask(frame(), seen())).reason == "throttled"
        now[0] += 299
        assert answer(opinion.ask(frame(), seen())).reason == "throttled"
        assert len(server.requests) == 1
        now[0] += 2
        assert answer(opinion.ask(frame(), seen())).decided_by == "cloud"


def test_frames_that_show_the_same_are_asked_about_once() -> None:
    desk = Desk()
    with running(desk, workers=1, same_for=10) as opinion:
        first = opinion.ask(frame(0, at_s=100), seen())
        desk.wait_until_asked(1)
        meanwhile = opinion.ask(frame(1, at_s=101), seen(0.1005))
        elsewhere = opinion.ask(frame(2, at_s=102), seen(0.6))
        desk.let_answer(2)
        assert answer(first).detections is answer(meanwhile).detections
        assert answer(elsewhere).decided_by == "cloud"
        afterwards = opinion.ask(frame(3, at_s=109.9), seen(0.0995))
        assert afterwards.result(0).detections is answer(first).detections
        desk.let_answer()
        # Its time counts from the first, or a picture that never changes would be asked about only once.
        assert answer(opinion.ask(frame(4, at_s=110), seen())).decided_by == "cloud"
        assert [one.index for one in desk.asked] == [0, 2, 4]
        assert (opinion.counts().saved, opinion.counts().calls) == (2, 3)


def test_a_late_answer_is_there_for_those_that_show_the_same() -> None:
    desk = Desk()
    with running(desk, workers=1, same_for=10, timeout=0.2) as opinion:
        first = opinion.ask(frame(0), seen())
        desk.wait_until_asked(1)
        assert answer(first).reason == "timeout"
        desk.let_answer()
        # The answer arrives at some moment now; from then on, frames go with it.
        until = time.monotonic() + DEADLINE
        while answer(opinion.ask(frame(1), seen())).decided_by != "cloud":
            assert time.monotonic() < until
        assert len(desk.asked) == 1


def test_a_failure_does_not_stand_for_others() -> None:
    class Failing(Desk):
        def look(self, frame: Frame, labels: tuple[str, ...]) -> Detections:  # noqa: ARG002
            self.asked.append(frame)
            raise NoOpinionError("refused", "by the test", strikes=False)

    desk = Failing()
    with running(desk, same_for=10) as opinion:
        assert [answer(opinion.ask(frame(i), seen())).reason for i in range(3)] == ["refused"] * 3
    assert len(desk.asked) == 3


def test_a_defect_leaves_no_frame_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Defective:
        def look(self, frame: Frame, labels: tuple[str, ...]) -> Detections:  # noqa: ARG002
            raise ZeroDivisionError

    with running(Defective(), workers=1) as opinion:
        assert [answer(opinion.ask(frame(i), seen())).reason for i in range(3)] == ["refused"] * 3
    assert "ZeroDivisionError" in caplog.text


def test_stopping_gives_every_frame_its_answer() -> None:
    desk = Desk()
    opinion = SecondOpinion(desk, gate(), workers=1, queue=4, timeout=LONG, same_for=0)
    opinion.start()
    futures = [opinion.ask(frame(i), seen()) for i in range(3)]
    desk.wait_until_asked(1)
    opinion.stop()
    assert [future.result(0).reason for future in futures] == ["timeout"] * 3
    assert opinion.ask(frame(3), seen()).result(0).reason == "timeout"
    desk.let_answer()
    assert opinion.counts().asked == sum(opinion.counts().degraded.values()) == 4


def test_stopping_lets_callbacks_end() -> None:
    desk = Desk()
    opinion = SecondOpinion(desk, gate(), workers=1, timeout=LONG, same_for=0)
    opinion.start()
    begun, ended = threading.Event(), threading.Event()

    def slowly(_: "Future[Opinion]") -> None:
        begun.set()
        ended.wait(0.2)
        ended.set()

    opinion.ask(frame(), seen()).add_done_callback(slowly)
    desk.let_answer()
    assert begun.wait(DEADLINE)
    opinion.stop()
    assert ended.is_set()


def test_draining_waits_for_what_is_on_its_way() -> None:
    desk = Desk()
    opinion = SecondOpinion(desk, gate(), workers=1, timeout=LONG, same_for=0)
    opinion.start()
    future = opinion.ask(frame(), seen())
    desk.wait_until_asked(1)
    threading.Timer(0.1, desk.let_answer).start()
    assert opinion.drain(timeout=DEADLINE)
    opinion.stop()
    assert future.result(0).decided_by == "cloud"


def test_under_a_storm_of_failures_each_frame_is_answered_exactly_once(server: RekognitionServer) -> None:
    weather = [Labels([]), Fault("ThrottlingException", retry_after="0"), Reset(), Rubbish(b"\x00"), Hold(),
               Fault("ResourceNotReadyException"), Fault("InternalServerError"), Reset(midway=True)]  # fmt: skip
    server.will(*weather * 10)
    told: Counter[int] = Counter()
    lock = threading.Lock()

    def tell(index: int) -> Callable[["Future[Opinion]"], None]:
        def note(_: "Future[Opinion]") -> None:
            with lock:
                told[index] += 1

        return note

    futures = []
    # A clock a thousand times as fast: all the waits between calls come and go.
    through = gate(failures=5, clock=lambda: 1000 * time.monotonic())
    with running(client(server, timeout=0.5), through, workers=3, queue=4, timeout=1.0, same_for=1) as opinion:
        for index in range(300):
            future = opinion.ask(frame(index, at_s=index), seen(0.1 + index % 7 / 10))
            future.add_done_callback(tell(index))
            futures.append(future)
            if index % 3 == 0:
                answer(future)
        for future in futures:
            answer(future)
    counts = opinion.counts()
    assert told == Counter(range(300))
    assert counts.asked == 300 == counts.cloud + sum(counts.degraded.values())
    assert counts.cloud
    assert {"timeout", "throttled"} <= set(counts.degraded)
