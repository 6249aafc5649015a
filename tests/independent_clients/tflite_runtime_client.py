"""Run a model with tflite-runtime, without beeagent: arguments MODEL IMAGE…; prints a JSON line per image.

Images must have the size of the model's input, in RGB.
"""

import json
import sys

import cv2
from tflite_runtime.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
run = interpreter.get_signature_runner("serving_default")
for path in sys.argv[2:]:
    pixels = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    out = run(images=pixels[None])
    count = int(out["num_detections"][0])
    found = [
        {"label": int(kind), "score": float(score), "box": [float(box[i]) for i in (1, 0, 3, 2)]}
        for box, kind, score in zip(
            out["detection_boxes"][0][:count],
            out["detection_classes"][0][:count],
            out["detection_scores"][0][:count],
            strict=True,
        )
        if score >= 0.3
    ]
    sys.stdout.write(json.dumps(found) + "\n")
