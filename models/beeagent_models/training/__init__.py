"""Training: what the network is compared with, the losses, the optimizer, and the run that can be resumed.

`options.TrainingOptions` says what a run is, `run.train` does it. Nothing is imported here: the loader's processes need
parts of this package but not Keras.
"""
