"""Augmentation: from labelled photographs to training images.

`pool` decodes photographs, cuts objects out of them and draws synthetic scenes; `store` keeps them on disk for all
loader processes; `composer` makes a training image from them. Boxes here count pixel edges: the pixel in column c
covers c to c + 1.
"""
