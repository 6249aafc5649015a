"""Loads detectors of the TensorFlow 2 Object Detection API as raw heads.

The input is the output of `exporter_main_v2.py`: a SavedModel and a pipeline.config. The API's package is not needed.
"""
