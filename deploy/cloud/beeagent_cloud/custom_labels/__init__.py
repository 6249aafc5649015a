"""Creates a model with Amazon Rekognition Custom Labels: project, datasets, training, and metrics.

`beeagent rekognition start` and `stop` are elsewhere: the device needs them, too.
"""
