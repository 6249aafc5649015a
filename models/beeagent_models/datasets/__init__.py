"""Labelled images: reading Ground Truth manifests, COCO and YOLO, and making synthetic ones.

One form for all of them, `Dataset`. Nothing here knows of a model or of Keras.
"""
