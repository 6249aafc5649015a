"""The synthetic camera: a hive entrance with bees, drawn by the project itself, with the exact boxes known.

`--camera synthetic`, the demo, tests with ground truth and benchmarks use it, and `beeagent_models.synthetic` draws
training images with its parts. Nothing here detects anything.
"""
