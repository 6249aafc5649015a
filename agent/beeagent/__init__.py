"""What runs on the device: cameras, detection and delivery.

Light on purpose: NumPy, OpenCV, LiteRT and paho-mqtt. No TensorFlow, no plotting, and never an import of
`beeagent_models` or `beeagent_export` (those may import this package).
"""

__version__ = "0.1.0"
