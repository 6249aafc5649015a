"""Run a model with MediaPipe Tasks, without beeagent: arguments MODEL IMAGE…; prints a JSON line per image."""

import json
import sys

import mediapipe as mp

options = mp.tasks.vision.ObjectDetectorOptions(
    base_options=mp.tasks.BaseOptions(model_asset_path=sys.argv[1]), max_results=100, score_threshold=0.3
)
with mp.tasks.vision.ObjectDetector.create_from_options(options) as detector:
    for path in sys.argv[2:]:
        image = mp.Image.create_from_file(path)
        found = [
            {
                "label": one.categories[0].category_name,
                "score": one.categories[0].score,
                "box": [
                    one.bounding_box.origin_x / image.width,
                    one.bounding_box.origin_y / image.height,
                    (one.bounding_box.origin_x + one.bounding_box.width) / image.width,
                    (one.bounding_box.origin_y + one.bounding_box.height) / image.height,
                ],
            }
            for one in detector.detect(image).detections
        ]
        sys.stdout.write(json.dumps(found) + "\n")
