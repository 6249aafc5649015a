"""Makes a real detector with the TensorFlow 2 Object Detection API, for the tests of its export.

    python make_object_detection_api_model.py CONFIG OUT --backbone b0 --size 256 --steps 20 --manifest output.manifest

CONFIG is a pipeline.config such as the reference article's. The model is trained for some steps on a Ground Truth
manifest whose pictures lie in `images` beside it, and exported as `exporter_main_v2.py` does: OUT then has
`saved_model` and `pipeline.config`. Five to ten minutes on two cores. It needs an environment of its own, seen to work
on Python 3.11: tensorflow-cpu 2.15.1, tensorflow-io 0.36.0, tf-slim, numpy 1, pycocotools, lvis, pandas, scipy,
matplotlib, gin-config, contextlib2, tensorflow-hub and opencv-python-headless; without their dependencies
tf-models-official 2.15.0 and tf-models-research-object-detection 2.8.0.post1; and the environment variable
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection import exporter_lib_v2
from object_detection.builders import model_builder
from object_detection.protos import pipeline_pb2
from PIL import Image


def main() -> None:
    """Make, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", choices=("b0", "b1"))
    parser.add_argument("--size", type=int, help="pixels a side, a multiple of 128")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--manifest", type=Path, required=True)
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
    tf.random.set_seed(0)
    model = model_builder.build(pipeline.model, is_training=True)
    _train(model, arguments.manifest, steps=arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=model).save(f"{folder}/ckpt")
        exporter_lib_v2.export_inference_graph("image_tensor", pipeline, folder, str(arguments.out))


def _train(model: object, manifest: Path, *, steps: int) -> None:
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    optimizer = tf.keras.optimizers.legacy.Adam(1e-3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        images, boxes, shapes = [], [], []
        for line in rng.choice(lines, 2):
            pixels = np.asarray(Image.open(manifest.parent / "images" / Path(line["source-ref"]).name).convert("RGB"))
            height, width = pixels.shape[:2]
            found = line["bees"]["annotations"]
            edges = [[a["top"], a["left"], a["top"] + a["height"], a["left"] + a["width"]] for a in found]
            image, shape = model.preprocess(tf.constant(pixels[None], tf.float32))
            images.append(image)
            shapes.append(shape)
            # Boxes in ratios of the padded square.
            boxes.append(tf.constant(np.array(edges, np.float32) / max(height, width)))
        classes = [tf.ones((len(b), 1)) for b in boxes]
        model.provide_groundtruth(groundtruth_boxes_list=boxes, groundtruth_classes_list=classes)
        with tf.GradientTape() as tape:
            predicted = model.predict(tf.concat(images, 0), tf.concat(shapes, 0))
            losses = model.loss(predicted, tf.concat(shapes, 0))
            total = tf.add_n(list(losses.values()))
        variables = model.trainable_variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(total, variables), 10.0)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        print(f"step {step + 1}/{steps}  loss {float(total):.3f}", flush=True)  # noqa: T201 - how far it is


if __name__ == "__main__":
    main()
