"""Align the frames of a hand-held video on its first one, so that a line stays where it was drawn.

    python bench/align_video.py hand-held.mp4 aligned.mp4 --frames 240

Needs a background with texture that fills most of the frame. Areas outside the original frame are black.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SCALE = 0.5
"""Scale of the images in which motion is measured."""
_MIN_POINTS = 20


def motion(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the motion of the background as a 3x3 matrix, in pixels of these grey images.

    Raises:
        SystemExit: there is too little texture.
    """
    points = cv2.goodFeaturesToTrack(before, 300, 0.01, 7)
    if points is None or len(points) < _MIN_POINTS:
        raise SystemExit("the background has too little texture to be aligned")
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)
    matrix, _ = cv2.estimateAffinePartial2D(
        points[found == 1], moved[found == 1], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    return np.vstack([matrix, (0.0, 0.0, 1.0)])


def align(video: Path, out: Path, *, frames: int) -> int:
    """Write the aligned video, and return the number of its frames."""
    source = cv2.VideoCapture(str(video))
    size = (int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), source.get(cv2.CAP_PROP_FPS), size)
    to_full, total = np.diag([1 / SCALE, 1 / SCALE, 1.0]), np.eye(3)
    before, count = None, 0
    while count < frames:
        read, frame = source.read()
        if not read:
            break
        grey = np.asarray(cv2.cvtColor(cv2.resize(frame, None, fx=SCALE, fy=SCALE), cv2.COLOR_BGR2GRAY), np.uint8)
        if before is not None:
            total = motion(before, grey) @ total
        back = to_full @ np.linalg.inv(total) @ np.linalg.inv(to_full)
        writer.write(cv2.warpPerspective(frame, back, size))
        before, count = grey, count + 1
    writer.release()
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=10**9)
    args = parser.parse_args()
    print(align(args.video, args.out, frames=args.frames), "frames")
