"""Exports a trained EfficientDet as a quantized, standard TFLite model in a bundle.

Runs on a workstation, never on the device.
"""
