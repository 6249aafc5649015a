"""Compare the tracker with ByteTrack, on the same detections at several frame rates.

    uv venv .venv-tracking && uv pip install --python .venv-tracking --editable . trackers trackeval
    .venv-tracking/bin/python bench/tracking.py compare
    .venv-tracking/bin/python bench/tracking.py compare --tune      # also a search for ByteTrack's best parameters
    .venv-tracking/bin/python bench/tracking.py speed --bees 50

The ground truth comes from two simulations. `flights` is a busy entrance from the front: bees fly in at 15 to 45 body
lengths a second, brake, land and walk into the slot, others walk out and take off, some hover. `colony` is the motion
of the agent's synthetic camera. Detections are the ground truth at 30 frames/s with noise, misses (in bursts, and more
in flight) and false alarms, all from one seed; lower rates use every second, third and sixth frame of the same
detections.
HOTA, IDF1 and identity switches are computed by the package trackeval, the latter two at an IoU of 0.5.
"""

import argparse
import contextlib
import io
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from beeagent.camera.synthetic.behaviour import Colony, Ground
from beeagent.detection import Detections, iou
from beeagent.tracking import Tracker, TrackerOptions
from numpy.typing import NDArray

SIZE = (1280, 720)
RATES = (30, 15, 10, 5)
TUNING_SEEDS = (101, 102)  # on which the parameters of our tracker were chosen, too

Boxes = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frame:
    """Ground truth and detections of one frame."""

    identities: NDArray[np.int64]
    boxes: Boxes
    detections: Detections


# One frame's output of a tracker: numbers and boxes in pixels.
Output = tuple[NDArray[np.int64], Boxes]
Run = Callable[[Sequence[Frame], float], list[Output]]


@dataclass(slots=True)
class _Flyer:
    identity: int
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]
    length: float
    phase: str  # in the order of its life: arrive, walk in; walk out, depart; hover
    goal: NDArray[np.float64]
    cruise: float
    until: float = 0.0


class Flights:
    """Bees at a busy entrance; lengths in pixels, time in seconds."""

    def __init__(self, seed: int, *, rate: float = 4.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._rate = rate
        self._length = float(self._rng.uniform(36, 56))
        self._now = 0.0
        self._next = 1
        self.bees: list[_Flyer] = []
        for _ in range(240):
            self.advance(1 / 30)

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        steps = 8
        for _ in range(steps):
            self._step(seconds / steps)

    def _step(self, seconds: float) -> None:
        rng = self._rng
        self._now += seconds
        if rng.random() < self._rate * seconds:
            self._add()
        for bee in self.bees:
            self._move(bee, seconds)
        self.bees = [bee for bee in self.bees if not self._gone(bee)]

    def _slot(self) -> NDArray[np.float64]:
        return np.array((self._rng.uniform(0.35, 0.65) * SIZE[0], 0.42 * SIZE[1]))

    def _add(self) -> None:
        rng = self._rng
        length = self._length * rng.uniform(0.9, 1.1)
        cruise = length * rng.uniform(15, 45)
        kind = rng.choice(("arrive", "walk out", "hover"), p=(0.42, 0.42, 0.16))
        if kind == "walk out":
            place = self._slot()
            goal = place + np.array((rng.normal(0, 2), rng.uniform(1, 4))) * length
            velocity = np.zeros(2)
        else:
            side = rng.integers(3)
            along = rng.uniform(0.1, 0.95)
            place = np.array(
                ((-10.0, along * SIZE[1]), (SIZE[0] + 10.0, along * SIZE[1]), (along * SIZE[0], SIZE[1] + 10.0))[side]
            )
            goal = self._slot() + np.array((rng.normal(0, 2), rng.uniform(0.5, 4))) * length
            velocity = (goal - place) / np.linalg.norm(goal - place) * cruise * 0.7
        bee = _Flyer(self._next, place, velocity, length, str(kind), goal, cruise, self._now + rng.uniform(3, 8))
        self._next += 1
        self.bees.append(bee)

    def _move(self, bee: _Flyer, seconds: float) -> None:
        rng = self._rng
        way = bee.goal - bee.place
        distance = float(np.linalg.norm(way)) + 1e-9
        if bee.phase == "arrive":
            wanted = way / distance * min(bee.cruise, 4 * distance + 2 * bee.length)
            self._steer(bee, wanted, seconds, response=8, restless=6)
            if distance < 0.5 * bee.length:
                bee.phase, bee.goal = "walk in", np.array((bee.goal[0] + rng.normal(0, bee.length), 0.42 * SIZE[1] - 1))
                bee.velocity = np.zeros(2)
                bee.until = self._now + rng.exponential(0.7)
        elif bee.phase in {"walk in", "walk out"}:
            resting = self._now < bee.until and bee.phase == "walk in"
            wanted = np.zeros(2) if resting else way / distance * 4 * bee.length
            self._steer(bee, wanted, seconds, response=10, restless=1.5)
            if bee.phase == "walk out" and distance < 0.4 * bee.length:
                bee.phase = "depart"
                angle = rng.uniform(0.1 * math.pi, 0.9 * math.pi)
                bee.goal = bee.place + 4000 * np.array((math.cos(angle), math.sin(angle)))
        elif bee.phase == "depart":
            self._steer(bee, way / distance * bee.cruise, seconds, response=4, restless=6)
        else:
            if distance < 2 * bee.length:
                bee.goal = np.array((rng.uniform(0.2, 0.8) * SIZE[0], rng.uniform(0.45, 0.85) * SIZE[1]))
            if self._now > bee.until:
                bee.phase, bee.goal = "depart", np.array((rng.uniform(0, 1) * SIZE[0], 4000.0))
            self._steer(bee, way / distance * 9 * bee.length, seconds, response=4, restless=10)

    def _steer(
        self, bee: _Flyer, wanted: NDArray[np.float64], seconds: float, *, response: float, restless: float
    ) -> None:
        bee.velocity = bee.velocity + (wanted - bee.velocity) * min(1.0, response * seconds)
        bee.velocity = bee.velocity + self._rng.normal(0, restless * bee.length * math.sqrt(seconds), 2)
        bee.place = bee.place + bee.velocity * seconds

    def _gone(self, bee: _Flyer) -> bool:
        if bee.phase == "walk in":
            return bool(bee.place[1] < 0.42 * SIZE[1])
        return bool(not (-12 < bee.place[0] < SIZE[0] + 12 and bee.place[1] < SIZE[1] + 12))

    def truth(self) -> Iterator[tuple[int, float, float, float, float, bool]]:
        """Yield identity, x, y, length, heading and whether it flies."""
        for bee in self.bees:
            heading = math.atan2(bee.velocity[1], bee.velocity[0])
            flying = bee.phase in {"arrive", "depart", "hover"}
            yield bee.identity, bee.place[0], bee.place[1], bee.length, heading, flying


class SyntheticColony:
    """The motion of the agent's synthetic camera, without drawing."""

    def __init__(self, seed: int) -> None:
        slot = (round(0.3 * SIZE[0]), round(0.3 * SIZE[1]), round(0.7 * SIZE[0]), round(0.38 * SIZE[1]))
        self._length = 70.0
        self._colony = Colony(
            np.random.default_rng(seed), ground=Ground(*SIZE, slot=slot), bees=(8, 25), lengths=(self._length,)
        )
        self._identities: dict[int, tuple[int, Any]] = {}

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        self._colony.advance(seconds)

    def truth(self) -> Iterator[tuple[int, float, float, float, float, bool]]:
        """Yield identity, x, y, length, heading and whether it flies."""
        for bee in self._colony.bees:
            # Keep the bee, so that no other object can have its id().
            identity, _ = self._identities.setdefault(id(bee), (len(self._identities) + 1, bee))
            yield identity, bee.x, bee.y, self._length, bee.heading, bee.flying


def scene_frames(scene: Flights | SyntheticColony, *, seed: int, seconds: float) -> list[Frame]:
    """Return the ground truth of a scene at 30 frames/s, with the detections of a simulated good model."""
    rng = np.random.default_rng(seed + 1000)
    missed_before: set[int] = set()
    frames = []
    for _ in range(round(30 * seconds)):
        scene.advance(1 / 30)
        identities, boxes, found, confidences = [], [], [], []
        missed = set()
        for identity, x, y, length, heading, flying in scene.truth():
            wide = (0.8 if flying else 0.5) * length
            half = (
                np.array(
                    (
                        math.hypot(length * math.cos(heading), wide * math.sin(heading)),
                        math.hypot(length * math.sin(heading), wide * math.cos(heading)),
                    )
                )
                / 2
            )
            box = np.array((x - half[0], y - half[1], x + half[0], y + half[1]))
            clipped = np.clip(box, 0, SIZE * 2)
            if np.prod(clipped[2:] - clipped[:2]) < 0.3 * np.prod(2 * half):
                continue
            identities.append(identity)
            boxes.append(clipped)
            if rng.random() < (0.5 if identity in missed_before else 0.1 if flying else 0.05):
                missed.add(identity)
                continue
            jitter = rng.normal(0, 0.05 * length, 2)
            scale = rng.normal(1, 0.06, 2)
            middle = (box[:2] + box[2:]) / 2 + jitter
            noisy = np.clip(np.concatenate((middle - half * scale, middle + half * scale)), 0, SIZE * 2)
            if np.prod(noisy[2:] - noisy[:2]) < 1:
                continue
            found.append(noisy)
            confidences.append(rng.beta(7, 2))
        for _ in range(rng.poisson(0.3)):
            middle = rng.uniform((0, 0), SIZE)
            half = rng.uniform(12, 35, 2)
            found.append(np.clip(np.concatenate((middle - half, middle + half)), 0, SIZE * 2))
            confidences.append(rng.beta(2, 2.5))
        missed_before = missed
        frames.append(
            Frame(np.array(identities, np.int64), np.array(boxes).reshape(-1, 4), _detections(found, confidences))
        )
    return frames


def _detections(boxes: Sequence[Boxes], confidences: Sequence[float]) -> Detections:
    order = np.argsort(confidences)[::-1] if confidences else np.empty(0, np.int64)
    order = order[np.array(confidences)[order] >= 0.2] if confidences else order
    return Detections(
        (np.array(boxes).reshape(-1, 4)[order] / (SIZE * 2)).astype(np.float32),
        np.array(confidences, np.float32)[order],
        np.zeros(len(order), np.int64),
        ("bee",),
    )


def run_beeagent(frames: Sequence[Frame], rate: float, options: TrackerOptions | None = None) -> list[Output]:
    """Return what our tracker makes of the detections."""
    tracker = Tracker(options)
    outputs = []
    for index, frame in enumerate(frames):
        tracked = tracker.update(frame.detections, at_s=index / rate, frame_size=SIZE)
        shown = tracked.confirmed
        outputs.append((tracked.tracks[shown], frame.detections.xyxy(SIZE)[shown].astype(np.float64)))
    return outputs


def run_byte_track(frames: Sequence[Frame], rate: float, **parameters: Any) -> list[Output]:  # noqa: ANN401 - ByteTrack's
    """Return the tracks of ByteTrack."""
    import supervision  # noqa: PLC0415 - in an environment of its own
    import trackers  # noqa: PLC0415

    tracker = trackers.ByteTrackTracker(frame_rate=rate, **parameters)
    outputs = []
    for frame in frames:
        detections = supervision.Detections(
            xyxy=frame.detections.xyxy(SIZE),
            confidence=frame.detections.confidences,
            class_id=frame.detections.class_ids,
        )
        tracked = tracker.update(detections)
        if tracked.tracker_id is None or not len(tracked):
            outputs.append((np.empty(0, np.int64), np.empty((0, 4))))
            continue
        shown = tracked.tracker_id >= 0
        outputs.append((tracked.tracker_id[shown].astype(np.int64), tracked.xyxy[shown].astype(np.float64)))
    return outputs


def evaluate(sequences: Iterable[tuple[Sequence[Frame], Sequence[Output]]]) -> dict[str, float]:
    """Return HOTA, IDF1 and the identity switches over all sequences, as computed by trackeval."""
    from trackeval.metrics import CLEAR, HOTA, Identity  # noqa: PLC0415 - in an environment of its own

    quiet = {"PRINT_CONFIG": False}
    metrics = {
        "HOTA": HOTA(),
        "Identity": Identity({"THRESHOLD": 0.5, **quiet}),
        "CLEAR": CLEAR({"THRESHOLD": 0.5, **quiet}),
    }
    results: dict[str, dict[str, Any]] = {name: {} for name in metrics}
    for index, (frames, outputs) in enumerate(sequences):
        data = _trackeval_data(frames, outputs)
        for name, metric in metrics.items():
            results[name][str(index)] = metric.eval_sequence(data)
    combined = {name: metric.combine_sequences(results[name]) for name, metric in metrics.items()}
    return {
        "HOTA": 100 * float(np.mean(combined["HOTA"]["HOTA"])),
        "AssA": 100 * float(np.mean(combined["HOTA"]["AssA"])),
        "IDF1": 100 * float(combined["Identity"]["IDF1"]),
        "switches": int(combined["CLEAR"]["IDSW"]),
        "fragments": int(combined["CLEAR"]["Frag"]),
    }


def _trackeval_data(frames: Sequence[Frame], outputs: Sequence[Output]) -> dict[str, Any]:
    true_ids = _dense([frame.identities for frame in frames])
    found_ids = _dense([numbers for numbers, _ in outputs])
    return {
        "num_timesteps": len(frames),
        "gt_ids": true_ids,
        "tracker_ids": found_ids,
        "num_gt_ids": len(np.unique(np.concatenate(true_ids))),
        "num_tracker_ids": len(np.unique(np.concatenate(found_ids))),
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, found_ids)),
        "similarity_scores": [
            iou(frame.boxes[:, None], boxes[None]) for frame, (_, boxes) in zip(frames, outputs, strict=True)
        ],
    }


def _dense(numbers: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    known = np.unique(np.concatenate(numbers))
    return [np.searchsorted(known, one) for one in numbers]


def scenes(seeds: Sequence[int], seconds: float) -> dict[str, list[list[Frame]]]:
    """Return the frames of each scene and seed at 30 frames/s."""
    return {
        "flights": [scene_frames(Flights(seed), seed=seed, seconds=seconds) for seed in seeds],
        "colony": [scene_frames(SyntheticColony(seed), seed=seed, seconds=seconds) for seed in seeds],
    }


def figures(sequences: Sequence[Sequence[Frame]], rate: int, run: Run) -> dict[str, float]:
    """Return the figures of a tracker over these sequences at a frame rate that divides 30."""
    thinned = [list(frames[:: 30 // rate]) for frames in sequences]
    return evaluate([(frames, run(frames, rate)) for frames in thinned])


def tune_byte_track(made: dict[str, list[list[Frame]]]) -> dict[str, Any]:
    """Return the parameters of ByteTrack with the highest mean HOTA over all scenes and rates."""
    from trackers.utils.iou import DIoU, IoU  # noqa: PLC0415 - in an environment of its own

    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for activation, high, consecutive, (measure, threshold) in itertools.product(
        (0.5, 0.7), (0.5, 0.6), (1, 2), ((IoU(), 0.1), (IoU(), 0.02), (DIoU(), 0.2), (DIoU(), 0.4))
    ):
        parameters = {
            "track_activation_threshold": activation,
            "high_conf_det_threshold": high,
            "minimum_consecutive_frames": consecutive,
            "minimum_iou_threshold": threshold,
            "iou": measure,
        }

        def run(frames: Sequence[Frame], rate: float, options: dict[str, Any] = parameters) -> list[Output]:
            return run_byte_track(frames, rate, **options)

        mean = statistics.mean(figures(sequences, rate, run)["HOTA"] for sequences in made.values() for rate in RATES)
        if mean > best[0]:
            best = (mean, parameters)
    return best[1]


def compare(*, seeds: int, seconds: float, tune: bool) -> None:
    """Print a table, and the same figures as JSON lines on standard error."""
    runs: dict[str, Run] = {"beeagent": run_beeagent, "ByteTrack": run_byte_track}
    if tune:
        parameters = tune_byte_track(scenes(TUNING_SEEDS, 20))
        print("ByteTrack, tuned:", {**parameters, "iou": type(parameters["iou"]).__name__})
        runs["ByteTrack, tuned"] = lambda frames, rate: run_byte_track(frames, rate, **parameters)
    print("| scene | frames/s | tracker | HOTA | AssA | IDF1 | identity switches |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for scene, sequences in scenes(range(1, seeds + 1), seconds).items():
        for rate in RATES:
            for name, run in runs.items():
                with contextlib.redirect_stdout(io.StringIO()):  # trackeval prints how long it took
                    row = figures(sequences, rate, run)
                print(
                    f"| {scene} | {rate} | {name} | {row['HOTA']:.1f} | {row['AssA']:.1f} | {row['IDF1']:.1f} "
                    f"| {row['switches']} |",
                    flush=True,
                )
                print(json.dumps({"scene": scene, "frames_per_s": rate, "tracker": name, **row}), file=sys.stderr)


def speed(bees: int) -> None:
    """Print the time of an update with about this number of bees in view."""
    frames = scene_frames(Flights(7, rate=bees / 2.05), seed=7, seconds=20)
    for rate in (30, 10):
        tracker, times = Tracker(), []
        chosen = frames[:: 30 // rate]
        for index, frame in enumerate(chosen):
            began = time.thread_time_ns()
            tracker.update(frame.detections, at_s=index / rate, frame_size=SIZE)
            times.append((time.thread_time_ns() - began) / 1e6)
        print(
            f"{rate} frames/s, {statistics.mean(len(frame.detections) for frame in chosen):.0f} detections per frame: "
            f"mean {statistics.mean(times):.2f} ms, 95th percentile {statistics.quantiles(times, n=20)[-1]:.2f} ms of "
            "processor time"
        )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("--tune", action="store_true")
    comparing.add_argument("--seeds", type=int, default=5)
    comparing.add_argument("--seconds", type=float, default=60)
    commands.add_parser("speed").add_argument("--bees", type=int, default=50)
    args = parser.parse_args()
    if args.command == "speed":
        speed(args.bees)
    else:
        compare(seeds=args.seeds, seconds=args.seconds, tune=args.tune)


if __name__ == "__main__":
    main()
