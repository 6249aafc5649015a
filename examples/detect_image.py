"""Detect bees in an image file: `python detect_image.py hive.jpg`."""

import sys

from beeagent import Detector

detector = Detector.load()
for detection in detector.detect(sys.argv[1]):
    left, top, right, bottom = detection.box
    print(f"{detection.label} {detection.confidence:.2f} at {left:.3f} {top:.3f} {right:.3f} {bottom:.3f}")
