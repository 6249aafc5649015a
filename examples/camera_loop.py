"""Count bees in the frames of a camera, stream or file: `python camera_loop.py rtsp://camera.local/stream`.

Try it without a camera: `python camera_loop.py synthetic --tiles 2x2 --frames 20`.
"""

import argparse
from itertools import islice

from beeagent import Detector, open_camera

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("camera", help="a number such as 0, csi, an rtsp:// or http:// address, a video, images, synthetic")
parser.add_argument("--tiles", help="run the model on tiles too, for small bees: auto, or such as 2x2")
parser.add_argument("--frames", type=int, help="stop after this number of frames")
arguments = parser.parse_args()

detector = Detector.load(tiles=arguments.tiles)
with open_camera(arguments.camera) as frames:
    for frame in islice(frames, arguments.frames):
        detections = detector.detect(frame.pixels)  # BGR, as OpenCV has it
        print(f"{frame.captured_at:%H:%M:%S} frame {frame.index}: {detections.counts()}")
