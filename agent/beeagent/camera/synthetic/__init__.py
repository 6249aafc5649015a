"""The synthetic camera: a rendered hive entrance with bees, with exact bounding boxes.

It is used by `--camera synthetic`, the demo, benchmarks and tests with ground truth; `beeagent_models.synthetic`
renders training images with its parts.
"""
