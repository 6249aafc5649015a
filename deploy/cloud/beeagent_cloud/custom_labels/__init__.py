"""Create a model with Amazon Rekognition Custom Labels: project, datasets, training, and metrics.

`beeagent rekognition start` and `stop` are in `beeagent.cloud`, because the device has them, too.
"""
