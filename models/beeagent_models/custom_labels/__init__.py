"""Makes a model with Amazon Rekognition Custom Labels: project, data sets, training, and how good it became.

Everything here asks AWS through `beeagent_models.aws`. Whether a model runs is `beeagent rekognition start` and `stop`,
which the device needs too, and so is elsewhere.
"""
