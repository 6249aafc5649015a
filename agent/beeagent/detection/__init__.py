"""From a frame's pixels to `Detections`: the model bundle, the TFLite detector and its geometry.

Nothing here knows of cameras, brokers or messages.
"""
