"""A trained EfficientDet in; a quantized, standard TFLite model in a bundle out.

Runs on a workstation, never on the device.
"""
