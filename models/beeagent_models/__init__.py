"""EfficientDet-Lite in Keras: architecture, datasets, training, evaluation, comparison and drawing.

Runs on a workstation, never on the device. Importing a module here must not import TensorFlow unless the module is
about training.
"""
