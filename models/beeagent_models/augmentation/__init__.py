"""Augmentation: composes training images from labelled photographs.

`pool` decodes photographs, cuts out objects and draws synthetic scenes; `store` keeps them on disk for all loader
processes; `composer` composes training images. Box coordinates are pixel edges: the pixel in column c covers c to c +
1.
"""
