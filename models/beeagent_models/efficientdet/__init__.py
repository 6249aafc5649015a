"""The EfficientDet-Lite network in `keras.ops`: configuration, backbone, BiFPN, heads, anchors, box coding.

Nothing here knows of data sets, training loops or TFLite.
"""
