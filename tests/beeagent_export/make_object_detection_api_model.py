"""Create a real detector with the TensorFlow 2 Object Detection API, for the tests of its export.

    python make_object_detection_api_model.py CONFIG IMAGES OUT --backbone b0 --size 256

CONFIG is a pipeline.config of an EfficientDet-D0 or D1, such as the reference article's; IMAGES a folder. The weights
are random, and adapted to the images, so that the outputs depend on the image as those of a trained detector. OUT gets
what `exporter_main_v2.py` writes, `saved_model` and `pipeline.config`, and a `label_map.pbtxt`. Some five minutes on
two cores.

The tests look for `d0` (`--backbone b0 --size 256`) and `d1` (neither option) in the folder that the environment
variable `BEEAGENT_OBJECT_DETECTION_API_MODELS` names.

That API needs an environment of its own. One that works, with Python 3.11:

    uv pip install tensorflow-cpu==2.15.1 tensorflow-io==0.36.0 tensorflow-hub==0.16.1 \
      tensorflow-model-optimization==0.8.1 tensorflow-datasets tf-keras==2.15.1 tf-slim==1.1.0 'numpy<2' 'protobuf<5' \
      'setuptools<81' cython lvis pycocotools pandas pillow scipy matplotlib pyyaml gin-config contextlib2 lxml \
      sentencepiece psutil py-cpuinfo oauth2client opencv-python-headless==4.11.0.86
    uv pip install --no-deps tf-models-official==2.15.0 tf-models-research-object-detection==2.8.0.post1
    export PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection import exporter_lib_v2
from object_detection.builders import model_builder
from object_detection.protos import pipeline_pb2
from PIL import Image

BATCH = 4


def main() -> None:
    """Make, settle, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", choices=("b0", "b1"))
    parser.add_argument("--size", type=int, help="pixels a side, a multiple of 128")
    arguments = parser.parse_args()
    pipeline = pipeline_pb2.TrainEvalPipelineConfig()
    text_format.Merge(arguments.config.read_text(), pipeline)
    ssd = pipeline.model.ssd
    if arguments.backbone == "b0":
        ssd.feature_extractor.type = "ssd_efficientnet-b0_bifpn_keras"
        ssd.feature_extractor.bifpn.num_iterations, ssd.feature_extractor.bifpn.num_filters = 3, 64
        ssd.box_predictor.weight_shared_convolutional_box_predictor.depth = 64
    if arguments.size:
        resizer = ssd.image_resizer.keep_aspect_ratio_resizer
        resizer.min_dimension = resizer.max_dimension = arguments.size
    paths = sorted(arguments.images.rglob("*.jpg"))[:BATCH]
    tf.keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=_settle(pipeline.model, paths)).save(f"{folder}/ckpt")
        exporter_lib_v2.export_inference_graph("image_tensor", pipeline, folder, str(arguments.out))
    names = ["bee", *(f"other{number}" for number in range(1, ssd.num_classes))]
    items = [f'item {{\n  id: {number}\n  name: "{name}"\n}}\n' for number, name in enumerate(names, start=1)]
    (arguments.out / "label_map.pbtxt").write_text("".join(items))


def _settle(config: Any, paths: list[Path]) -> Any:  # noqa: ANN401 - the API ships no types
    """Build a model whose values neither vanish on their way nor blow up.

    Every batch normalisation gets the statistics of the images, and amplifies dull channels less than lively ones, as
    a random network is chaotic otherwise. The heads are scaled so that few scores are high.
    """
    model = model_builder.build(config, is_training=True)
    images, shapes = _preprocess(model, paths)
    model.predict(images, shapes)
    normalisations = [layer for layer in model.submodules if hasattr(layer, "moving_variance")]
    for layer in normalisations:
        layer.momentum = 0.0
    tf.keras.backend.set_learning_phase(1)
    model.predict(images, shapes)
    for layer in normalisations:
        variance = layer.moving_variance
        layer.gamma.assign(layer.gamma * tf.sqrt(variance / (variance + tf.reduce_mean(variance))))
    model.predict(images, shapes)
    tf.keras.backend.set_learning_phase(0)
    predictor = model._box_predictor
    boxes = predictor._box_prediction_head._box_encoder_layers
    classes = predictor._prediction_heads["class_predictions_with_background"]._class_predictor_layers
    for layers, output, spread, bias in (
        (boxes, "box_encodings", 0.3, 0.0),
        (classes, "class_predictions_with_background", 1.2, -4.0),
    ):
        layer = next(layer for layer in reversed(layers) if layer.get_weights())
        *depthwise, pointwise, _ = layer.get_weights()
        values = model.predict(images, shapes)[output]
        gain = spread / float(np.std(values))
        layer.set_weights([*depthwise, pointwise * gain, np.full(pointwise.shape[-1], bias, np.float32)])
        after = model.predict(images, shapes)[output].numpy()
        between = np.std(after, axis=0).mean()
        print(  # noqa: T201 - how it went
            f"{output}: mean {after.mean():.3f}, spread {after.std():.3f}, between images {between:.3f}, "
            f"highest {after.max():.3f}",
            flush=True,
        )
    return model


def _preprocess(model: Any, paths: list[Path]) -> tuple[Any, Any]:  # noqa: ANN401
    """Return the preprocessed images, with their true shapes."""
    ready = [
        model.preprocess(tf.constant(np.asarray(Image.open(path).convert("RGB"))[None], tf.float32)) for path in paths
    ]
    return tf.concat([image for image, _ in ready], 0), tf.concat([shape for _, shape in ready], 0)


if __name__ == "__main__":
    main()
