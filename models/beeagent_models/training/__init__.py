"""Training: what the network is compared with, the loss, the schedule, and the run that can be resumed.

`options.TrainingOptions` says what a run is, `run.train` does it. Nothing here reads annotation formats or evaluates a
finished model, and nothing is imported here: the loader's processes need parts of this package but not Keras.
"""
