"""Frames and where they come from: cameras, streams, files and the built-in synthetic scene.

Nothing here knows what is in a frame or what becomes of it.
"""
