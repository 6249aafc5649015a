"""Comparison of detectors on labelled images: device models, cloud models, and stored results of either.

All are evaluated with the same metrics and shown side by side.
"""
