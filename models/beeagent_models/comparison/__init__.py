"""Comparing detectors on labelled images: models of the device, models in the cloud, and results of either.

Brings each to detections, has all measured by the same metrics, and shows them side by side. Measures nothing itself:
that is what `evaluation` does.
"""
