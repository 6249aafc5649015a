"""EfficientDet-Lite in Keras: architecture, datasets, training, evaluation, comparison and drawing.

Runs on a workstation, never on the device. Only modules for training may import TensorFlow.
"""
