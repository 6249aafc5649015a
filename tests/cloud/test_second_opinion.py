"""Each unsure frame has exactly one result, in time, despite failures of the cloud."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timezone

import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud import (
    CallBudget,
    CallGuard,
    CloudDetectionError,
    CloudDetector,
    CloudResult,
    RekognitionClient,
    SecondOpinion,
)
from beeagent.detection import Detections
from beeagent.settings import RekognitionSettings
from beeagent.threads import Backoff
from support.rekognition_server import PROJECT_VERSION_ARN, Fault, Hold, Labels, RekognitionServer, Reset, Rubbish

pytestmark = pytest.mark.aws

DEADLINE = 45.0
LONG = 600.0  # seconds; no test waits so long


def edge(left: float = 0.1, confidence: float = 0.5) -> Detections:
    box = np.array([[left, 0.1, left + 0.1, 0.2]], np.float32)
    return Detections(box, np.array([confidence], np.float32), np.zeros(1, np.int64), ("bee",))


def frame(index: int = 0, *, at_s: float = 1000.0) -> Frame:
    pixels = np.full((64, 64, 3), index % 256, np.uint8)
    return Frame(pixels, datetime.now(timezone.utc), int(at_s * 1e9), index)


def call_guard(
    *, per_minute: int = 1000, per_day: int = 1000, failures: int = 1000, clock: Callable[[], float] = time.monotonic
) -> CallGuard:
    return CallGuard(
        CallBudget(None, per_minute=per_minute, per_day=per_day),
        failures=failures,
        open_backoff=Backoff(first=60, longest=600),
        throttle_backoff=Backoff(first=60, longest=600),
        clock=clock,
    )


@contextmanager
def running(detector: CloudDetector, guard: CallGuard | None = None, **options: float) -> Iterator[SecondOpinion]:
    opinion = SecondOpinion(detector, guard or call_guard(), **{"timeout": LONG, "same_for": 0, **options})
    opinion.start()
    try:
        yield opinion
    finally:
        opinion.stop()


def client(server: RekognitionServer, *, timeout: float = 20.0) -> RekognitionClient:
    return RekognitionClient(
        RekognitionSettings(project_version_arn=PROJECT_VERSION_ARN, timeout=timeout), endpoint_url=server.url
    )


def result(future: "Future[CloudResult]") -> CloudResult:
    return future.result(DEADLINE)


class FakeDetector:
    """A cloud detector that responds on request of the test."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._changed = threading.Condition()
        self._responses = 0

    def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._responses > 0, DEADLINE)
            self._responses -= 1
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), labels)

    def let_respond(self, times: int = 1) -> None:
        with self._changed:
            self._responses += times
            self._changed.notify_all()

    def wait_for_calls(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames) >= times, DEADLINE)


def test_detections_of_the_cloud_replace_those_of_the_edge(server: RekognitionServer) -> None:
    with running(client(server)) as opinion:
        second = result(opinion.submit(frame(), edge()))
        assert (second.decided_by, second.reason) == ("cloud", None)
        assert second.detections.confidences.tolist() == pytest.approx([0.99968])
        server.will(Labels([]))
        assert len(result(opinion.submit(frame(), edge())).detections) == 0
        counts = opinion.counts()
    assert (counts.asked, counts.cloud, counts.calls, counts.degraded) == (2, 2, 2, {})


def test_without_a_cloud_result_the_edge_result_is_returned_with_the_reason(server: RekognitionServer) -> None:
    server.will(Fault("ResourceNotReadyException"), Reset(), Rubbish(b"?"))
    detections = edge()
    with running(client(server), workers=1) as opinion:
        for reason in ("model-not-running", "timeout", "refused"):
            second = result(opinion.submit(frame(), detections))
            assert (second.decided_by, second.reason) == ("edge-degraded", reason)
            assert second.detections is detections
        assert opinion.counts().degraded == {"model-not-running": 1, "timeout": 1, "refused": 1}


@pytest.mark.parametrize("drip", [False, True])
def test_hanging_service_delays_a_frame_by_its_timeout_only(
    server: RekognitionServer,
    drip: bool,  # noqa: FBT001 - parametrized
) -> None:
    hold = Hold(drip=drip)
    server.will(hold)
    with running(client(server), timeout=0.3, workers=1) as opinion:
        future = opinion.submit(frame(), edge())
        server.wait_for_requests(1)
        assert result(future).reason == "timeout"
        hold.let_go.set()


def test_submit_never_blocks_and_a_full_queue_is_reported_at_once() -> None:
    detector = FakeDetector()
    with running(detector, workers=2, queue=3) as opinion:
        in_progress = [opinion.submit(frame(i), edge()) for i in range(2)]
        detector.wait_for_calls(2)
        queued = [opinion.submit(frame(i), edge()) for i in range(2, 5)]
        too_many = [opinion.submit(frame(i), edge()) for i in range(5, 8)]
        assert [future.result(0).reason for future in too_many] == ["queue-full"] * 3
        assert not any(future.done() for future in in_progress + queued)
        detector.let_respond(5)
        assert [result(future).decided_by for future in in_progress + queued] == ["cloud"] * 5
        # Two workers take what is queued, so only the set is certain.
        assert {one.index for one in detector.frames[2:]} == {2, 3, 4}


def test_expired_frame_is_not_sent() -> None:
    detector = FakeDetector()
    with running(detector, workers=1, timeout=1) as opinion:
        futures = [opinion.submit(frame(0), edge())]
        detector.wait_for_calls(1)
        futures += [opinion.submit(frame(i), edge()) for i in (1, 2)]
        assert [result(future).reason for future in futures] == ["timeout"] * 3
        detector.let_respond(9)
        assert result(opinion.submit(frame(3), edge())).decided_by == "cloud"
        assert [one.index for one in detector.frames] == [0, 3]


def test_limits_are_reported_and_cost_no_call(server: RekognitionServer) -> None:
    for limits, reason in (({"per_minute": 2}, "rate"), ({"per_day": 2}, "budget")):
        before = len(server.requests)
        with running(client(server), call_guard(**limits), queue=9) as opinion:
            reasons = [result(opinion.submit(frame(i), edge())).reason for i in range(4)]
        assert reasons == [None, None, reason, reason]
        assert len(server.requests) - before == 2


def test_failures_open_the_breaker_and_a_probe_closes_it(server: RekognitionServer) -> None:
    now = [0.0]
    server.will(*[Fault("InternalServerError")] * 3)
    with running(client(server), call_guard(failures=3, clock=lambda: now[0])) as opinion:
        reasons = [result(opinion.submit(frame(i), edge())).reason for i in range(5)]
        assert reasons == ["timeout"] * 3 + ["breaker-open"] * 2
        assert len(server.requests) == 3
        now[0] += 61
        assert [result(opinion.submit(frame(i), edge())).decided_by for i in range(2)] == ["cloud"] * 2


def test_errors_about_one_image_do_not_open_the_breaker(server: RekognitionServer) -> None:
    server.will(*[Fault("InvalidImageFormatException")] * 3)
    with running(client(server), call_guard(failures=1)) as opinion:
        assert [result(opinion.submit(frame(i), edge())).reason for i in range(4)] == ["refused"] * 3 + [None]


def test_throttling_delays_the_next_calls_as_long_as_requested(server: RekognitionServer) -> None:
    now = [0.0]
    server.will(Fault("ProvisionedThroughputExceededException", retry_after="300"))
    with running(client(server), call_guard(failures=1, clock=lambda: now[0])) as opinion:
        assert result(opinion.submit(frame(), edge())).reason == "throttled"
        now[0] += 299
        assert result(opinion.submit(frame(), edge())).reason == "throttled"
        assert len(server.requests) == 1
        now[0] += 2
        assert result(opinion.submit(frame(), edge())).decided_by == "cloud"


def test_duplicate_frames_share_one_call() -> None:
    detector = FakeDetector()
    with running(detector, workers=1, same_for=10) as opinion:
        first = opinion.submit(frame(0, at_s=100), edge())
        detector.wait_for_calls(1)
        meanwhile = opinion.submit(frame(1, at_s=101), edge(0.1005))
        elsewhere = opinion.submit(frame(2, at_s=102), edge(0.6))
        detector.let_respond(2)
        assert result(first).detections is result(meanwhile).detections
        assert result(elsewhere).decided_by == "cloud"
        afterwards = opinion.submit(frame(3, at_s=109.9), edge(0.0995))
        assert afterwards.result(0).detections is result(first).detections
        detector.let_respond()
        # The time counts from the first frame, or a scene that never changes would be sent only once.
        assert result(opinion.submit(frame(4, at_s=110), edge())).decided_by == "cloud"
        assert [one.index for one in detector.frames] == [0, 2, 4]
        assert (opinion.counts().saved, opinion.counts().calls) == (2, 3)


def test_late_result_is_reused_for_duplicates() -> None:
    detector = FakeDetector()
    with running(detector, workers=1, same_for=10, timeout=1) as opinion:
        first = opinion.submit(frame(0), edge())
        detector.wait_for_calls(1)
        assert result(first).reason == "timeout"
        detector.let_respond()
        # The result arrives at some moment now, and is reused from then on.
        until = time.monotonic() + DEADLINE
        while result(opinion.submit(frame(1), edge())).decided_by != "cloud":
            assert time.monotonic() < until
        assert len(detector.frames) == 1


def test_failure_is_not_reused_for_duplicates() -> None:
    class FailingDetector(FakeDetector):
        def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:  # noqa: ARG002
            self.frames.append(frame)
            raise CloudDetectionError("refused", "by the test", is_service_failure=False)

    detector = FailingDetector()
    with running(detector, same_for=10) as opinion:
        assert [result(opinion.submit(frame(i), edge())).reason for i in range(3)] == ["refused"] * 3
    assert len(detector.frames) == 3


def test_defect_leaves_no_frame_without_a_result(caplog: pytest.LogCaptureFixture) -> None:
    class DefectiveDetector:
        def detect(self, frame: Frame, labels: tuple[str, ...]) -> Detections:  # noqa: ARG002
            raise ZeroDivisionError

    with running(DefectiveDetector(), workers=1) as opinion:
        assert [result(opinion.submit(frame(i), edge())).reason for i in range(3)] == ["refused"] * 3
    assert "ZeroDivisionError" in caplog.text


def test_stop_resolves_every_frame() -> None:
    detector = FakeDetector()
    opinion = SecondOpinion(detector, call_guard(), workers=1, queue=4, timeout=LONG, same_for=0)
    opinion.start()
    futures = [opinion.submit(frame(i), edge()) for i in range(3)]
    detector.wait_for_calls(1)
    opinion.stop()
    assert [future.result(0).reason for future in futures] == ["timeout"] * 3
    assert opinion.submit(frame(3), edge()).result(0).reason == "timeout"
    detector.let_respond()
    assert opinion.counts().asked == sum(opinion.counts().degraded.values()) == 4


def test_stop_waits_for_callbacks() -> None:
    detector = FakeDetector()
    opinion = SecondOpinion(detector, call_guard(), workers=1, timeout=LONG, same_for=0)
    opinion.start()
    begun, ended = threading.Event(), threading.Event()

    def slowly(_: "Future[CloudResult]") -> None:
        begun.set()
        ended.wait(0.2)
        ended.set()

    opinion.submit(frame(), edge()).add_done_callback(slowly)
    detector.let_respond()
    assert begun.wait(DEADLINE)
    opinion.stop()
    assert ended.is_set()


def test_drain_waits_for_calls_in_progress() -> None:
    detector = FakeDetector()
    opinion = SecondOpinion(detector, call_guard(), workers=1, timeout=LONG, same_for=0)
    opinion.start()
    future = opinion.submit(frame(), edge())
    detector.wait_for_calls(1)
    threading.Timer(0.1, detector.let_respond).start()
    assert opinion.drain(timeout=DEADLINE)
    opinion.stop()
    assert future.result(0).decided_by == "cloud"


def test_each_frame_gets_exactly_one_result_under_many_failures(server: RekognitionServer) -> None:
    responses = [Labels([]), Fault("ThrottlingException", retry_after="0"), Reset(), Rubbish(b"\x00"), Hold(),
               Fault("ResourceNotReadyException"), Fault("InternalServerError"), Reset(midway=True)]  # fmt: skip
    server.will(*responses * 10)
    resolved: Counter[int] = Counter()
    lock = threading.Lock()

    def counter(index: int) -> Callable[["Future[CloudResult]"], None]:
        def count(_: "Future[CloudResult]") -> None:
            with lock:
                resolved[index] += 1

        return count

    futures = []
    # A clock a thousand times as fast: all waits between calls end within the test.
    guard = call_guard(failures=5, clock=lambda: 1000 * time.monotonic())
    with running(client(server, timeout=0.5), guard, workers=3, queue=4, timeout=1.0, same_for=1) as opinion:
        for index in range(300):
            future = opinion.submit(frame(index, at_s=index), edge(0.1 + index % 7 / 10))
            future.add_done_callback(counter(index))
            futures.append(future)
            if index % 3 == 0:
                result(future)
        for future in futures:
            result(future)
    counts = opinion.counts()
    assert resolved == Counter(range(300))
    assert counts.asked == 300 == counts.cloud + sum(counts.degraded.values())
    assert counts.cloud
    assert {"timeout", "throttled"} <= set(counts.degraded)
