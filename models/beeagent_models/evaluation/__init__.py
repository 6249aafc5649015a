"""Measuring detectors on labelled images: COCO metrics, operating points, errors, calibration."""
