"""Detect with your own model, and draw what it found.

    python own_model.py models/mine hive.jpg found.png                    # a bundle, as `beeagent export` writes it
    python own_model.py ssd.tflite hive.jpg found.png --labels coco.txt   # any TFLite detector

Drawing needs the extra `evaluate`: pip install '.[evaluate]'.
"""

import argparse

import cv2
import supervision as sv
from beeagent import Detector

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="a bundle folder, a .tflite file, or the name of a bundled model")
parser.add_argument("image")
parser.add_argument("out", help="the image with the detections drawn")
parser.add_argument("--labels", help="a text file with a label a line, for a .tflite without labels packed in")
parser.add_argument("--threshold", type=float, help="minimum confidence of a detection")
arguments = parser.parse_args()

image = cv2.imread(arguments.image)
if image is None:
    parser.error(f"{arguments.image} is not an image that OpenCV reads")

detector = Detector.load(arguments.model, labels=arguments.labels, threshold=arguments.threshold)
print(f"{arguments.model} detects {', '.join(detector.labels)}")

detections = detector.detect(image).to_supervision((image.shape[1], image.shape[0]))
scene = sv.BoxAnnotator().annotate(image.copy(), detections)
cv2.imwrite(arguments.out, sv.LabelAnnotator().annotate(scene, detections))
print(f"{len(detections)} detections drawn in {arguments.out}")
