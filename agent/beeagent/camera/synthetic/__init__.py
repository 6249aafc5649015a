"""The built-in scene: a hive entrance with bees, drawn by the project itself, with the exact boxes known.

It serves the demo, tests with ground truth, training and benchmarks. Nothing here detects anything.
"""
