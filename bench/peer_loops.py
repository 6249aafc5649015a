"""Run a model on a video without beeagent: read, infer and publish one frame after the other.

    python bench/peer_loops.py loop|slicer|mediapipe MODEL VIDEO THREADS BROKER_PORT FRAMES THRESHOLD

Prints the frames per second and the processor time per frame, from the 30th frame to the last, as JSON.
`bench/peers.py` calls this program, for MediaPipe in an environment with mediapipe and paho-mqtt only.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

WARM_UP: Final = 30  # frames before the measurement begins
_OVERLAP: Final = 0.25  # of two neighbouring tiles, as in the agent

_Image = Any
_Found = list[dict[str, Any]]
_Detect = Callable[[_Image], _Found]


def _interpreter_detect(model: str, threads: int, threshold: float) -> _Detect:
    """Return a plain detector: letterbox, set the tensor, invoke, and read the outputs."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - not in MediaPipe's environment

    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    (image_input,) = interpreter.get_input_details()
    boxes_output, classes_output, scores_output, count_output = (
        output["index"] for output in interpreter.get_output_details()
    )
    _, height, width, _ = image_input["shape"]

    def detect(image: _Image) -> _Found:
        scale = min(width / image.shape[1], height / image.shape[0])
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        padded = np.full((height, width, 3), 127, np.uint8)
        left, top = (width - size[0]) // 2, (height - size[1]) // 2
        small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        padded[top : top + size[1], left : left + size[0]] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        interpreter.set_tensor(image_input["index"], padded[np.newaxis])
        interpreter.invoke()
        count = int(interpreter.get_tensor(count_output)[0])
        found = zip(
            interpreter.get_tensor(boxes_output)[0][:count],
            interpreter.get_tensor(classes_output)[0][:count],
            interpreter.get_tensor(scores_output)[0][:count],
            strict=True,
        )
        return [
            {
                "label": int(class_id),
                "confidence": round(float(score), 4),
                "box": [
                    min(1.0, max(0.0, float((box[1] * width - left) / size[0]))),
                    min(1.0, max(0.0, float((box[0] * height - top) / size[1]))),
                    min(1.0, max(0.0, float((box[3] * width - left) / size[0]))),
                    min(1.0, max(0.0, float((box[2] * height - top) / size[1]))),
                ],
            }
            for box, class_id, score in found
            if score >= threshold
        ]

    return detect


def _slicer_detect(model: str, threads: int, threshold: float) -> _Detect:
    """Return supervision's InferenceSlicer with 2x2 tiles and the whole frame, as in the agent."""
    import supervision as sv  # noqa: PLC0415 - as above

    plain = _interpreter_detect(model, threads, threshold)

    def detect(image: _Image) -> "sv.Detections":
        height, width = image.shape[:2]
        found = plain(image)
        return sv.Detections(
            xyxy=np.array([one["box"] for one in found], np.float32).reshape(-1, 4) * [width, height, width, height],
            confidence=np.array([one["confidence"] for one in found], np.float32),
            class_id=np.array([one["label"] for one in found], np.int64),
        )

    def detect_tiles(image: _Image) -> _Found:
        tile = [int(np.ceil(side / (2 - _OVERLAP))) for side in image.shape[1::-1]]
        overlap = [2 * side - whole for side, whole in zip(tile, image.shape[1::-1], strict=True)]
        slicer = sv.InferenceSlicer(
            detect, slice_wh=(tile[0], tile[1]), overlap_wh=(overlap[0], overlap[1]), thread_workers=1
        )
        merged = sv.Detections.merge([slicer(image), detect(image)]).with_nms(0.5)
        return [
            {"confidence": float(confidence), "box": box.tolist()}
            for box, confidence in zip(merged.xyxy, merged.confidence, strict=True)
        ]

    return detect_tiles


def _mediapipe_detect(model: str, _: int, threshold: float) -> _Detect:
    """Return MediaPipe Tasks, which selects the number of threads by itself."""
    import mediapipe as mp  # noqa: PLC0415 - as above

    detector = mp.tasks.vision.ObjectDetector.create_from_options(
        mp.tasks.vision.ObjectDetectorOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=model), max_results=100, score_threshold=threshold
        )
    )

    def detect(image: _Image) -> _Found:
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return [
            {
                "label": one.categories[0].category_name,
                "confidence": round(one.categories[0].score, 4),
                "box": [
                    one.bounding_box.origin_x,
                    one.bounding_box.origin_y,
                    one.bounding_box.width,
                    one.bounding_box.height,
                ],
            }
            for one in detector.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)).detections
        ]

    return detect


def main() -> None:
    """Run one detector on the video."""
    kind, model, video, threads, port, wanted, threshold = sys.argv[1:]
    detectors = {"loop": _interpreter_detect, "slicer": _slicer_detect, "mediapipe": _mediapipe_detect}
    detect = detectors[kind](model, int(threads), float(threshold))
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    capture = cv2.VideoCapture(video)
    frames, began, cpu = 0, 0.0, 0.0
    while frames < int(wanted):
        read, image = capture.read()
        if not read:
            break
        client.publish("peer/detections", json.dumps({"seq": frames, "detections": detect(image)}), qos=1)
        frames += 1
        if frames == WARM_UP:
            began, cpu = time.perf_counter(), time.process_time()
    if frames <= WARM_UP:
        raise SystemExit(f"{video} has {frames} frames; more than {WARM_UP} are needed")
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    measured = frames - WARM_UP
    del detect  # MediaPipe's detector cannot be closed during the exit of Python
    sys.stdout.write(json.dumps({"fps": measured / seconds, "cpu_ms": 1000 * cpu_s / measured}) + "\n")
    client.loop_stop()


if __name__ == "__main__":
    main()
