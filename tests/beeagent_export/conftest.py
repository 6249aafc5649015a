"""Trained-looking checkpoints, images and exports for the tests of the exporter."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

# Before anything imports Keras: only TensorFlow converts to TFLite.
os.environ["KERAS_BACKEND"] = "tensorflow"

SIZE = 128
LABELS = ("bee", "wasp")


def draw_image(seed: int, *, width: int = 200, height: int = 150) -> NDArray[np.uint8]:
    """Draw a BGR image with smooth colours and some dark ellipses."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 256, (6, 8, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    for _ in range(5):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(8, 24)), int(rng.integers(5, 12)))
        cv2.ellipse(pixels, center, axes, float(rng.integers(180)), 0, 360, (20, 60, 90), thickness=-1)
    return pixels


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(12):
        cv2.imwrite(str(folder / f"image{seed}.png"), draw_image(seed))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint with random weights that quantizes like a trained network.

    Without statistics in its batch normalisation, a random network's values vanish on their way. With the exact
    ones it is chaotic: dividing by the small variance of dull channels blows up every rounding. A trained network
    does neither, and nor does this one, whose variances are raised by their mean.
    """
    pytest.importorskip("tensorflow")
    import keras  # noqa: PLC0415 - takes seconds, and may not be there
    from beeagent_models.efficientdet import build_model, config_for, save_checkpoint  # noqa: PLC0415

    keras.utils.set_random_seed(1)
    config = config_for("lite0", labels=LABELS, input_size=SIZE)
    model = build_model(config)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    batch = np.stack([cv2.resize(draw_image(seed), (SIZE, SIZE))[..., ::-1] for seed in range(100, 124)])
    images = (batch.astype(np.float32) - config.mean) / config.std
    model(images, training=True)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *others, variance = layer.get_weights()
            layer.set_weights([*others, variance + variance.mean()])
    for name, output, spread, bias in (("box_predict", 0, 0.3, 0.0), ("class_predict", 1, 0.7, -2.0)):
        layer = model.get_layer(name)
        depthwise, pointwise, _ = layer.get_weights()
        gain = spread / float(np.std(np.asarray(model(images)[output])))
        layer.set_weights([depthwise, pointwise * gain, np.full(pointwise.shape[-1], bias, np.float32)])
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.npz"
    save_checkpoint(path, model, config, {"seed": 1})
    return path
