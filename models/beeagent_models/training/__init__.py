"""Training: data loading, anchor matching, losses, optimizer, and resumable runs.

`run.train` runs the training that `options.TrainingOptions` describes. Nothing is imported here, because loader
processes need parts of this package without Keras.
"""
