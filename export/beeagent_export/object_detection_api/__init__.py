"""Detectors trained with the TensorFlow 2 Object Detection API, as a source of exports.

What they leave (`exporter_main_v2.py`: a SavedModel and a pipeline.config) is read, cut and brought to raw heads here.
Nothing here needs their package, and nothing here knows of TFLite.
"""
