"""Comparing detectors on labelled images: device models, cloud models, and results of either.

Converts each to detections, measures all by the same metrics, and shows them side by side.
"""
