"""Appends `TFLite_Detection_PostProcess` to a TFLite model of two raw heads.

Detectors of the TensorFlow Object Detection API and of Model Maker end in this op; every TFLite runtime has it. It
decodes the boxes, applies the score threshold, and suppresses overlapping boxes (NMS).
"""

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from beeagent_export.conversion import BOX_CODES_OUTPUT, SCORES_OUTPUT
from beeagent_export.heads import BoxScales, RawHeads
from beeagent_export.tflite_file import pack, set_fields, unpack

SIGNATURE = "serving_default"
INPUT_NAME = "images"
OUTPUT_NAMES = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
"""In the output order of the op."""

_OP = "TFLite_Detection_PostProcess"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessOptions:
    """Options of the post-processing op.

    Attributes:
        max_detections: maximum number of detections per image, at least 1.
        score_threshold: minimum score of a detection, 0 to 1. Keep it low: the agent applies its own threshold.
        iou_threshold: IoU threshold of NMS, above 0 to 1.

    Raises:
        ValueError: a value is out of its range.
    """

    max_detections: int = 100
    score_threshold: float = 0.05
    iou_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.max_detections < 1 or not 0 <= self.score_threshold <= 1 or not 0 < self.iou_threshold <= 1:
            raise ValueError(f"out of range: {self}")


def append_postprocess(model: bytes, heads: RawHeads, options: PostProcessOptions) -> bytes:
    """Append the op with the anchors as a constant.

    The signature `serving_default` has the input `images` and four float32 outputs: `detection_boxes`, shape
    (1, max_detections, 4): top, left, bottom, right as ratios of the input; `detection_classes` and `detection_scores`,
    shape (1, max_detections), by descending score; `num_detections`, shape (1,).

    Args:
        model: TFLite model from `convert_heads`.
        heads: raw heads of the source model.
        options: options of the op.
    """
    tree = unpack(model)
    graph = tree.subgraphs[0]
    outputs = {tensor.name: tensor.tensorIndex for tensor in tree.signatureDefs[0].outputs}
    anchors = _add_tensor(tree, "anchors", heads.anchors.shape, values=heads.anchors)
    count = options.max_detections
    shapes = ((1, count, 4), (1, count), (1, count), (1,))
    detections = [_add_tensor(tree, name, shape) for name, shape in zip(OUTPUT_NAMES, shapes, strict=True)]

    encoded = _encode(options, classes=len(heads.labels), scales=heads.box_scales)
    operator = set_fields(
        schema.OperatorT(),
        opcodeIndex=len(tree.operatorCodes),
        inputs=[outputs[BOX_CODES_OUTPUT.encode()], outputs[SCORES_OUTPUT.encode()], anchors],
        outputs=detections,
        customOptions=np.frombuffer(encoded, dtype=np.uint8),
        customOptionsFormat=schema.CustomOptionsFormat.FLEXBUFFERS,
    )
    custom = schema.BuiltinOperator.CUSTOM
    code = set_fields(
        schema.OperatorCodeT(), builtinCode=custom, deprecatedBuiltinCode=custom, customCode=_OP, version=1
    )
    tree.operatorCodes.append(code)
    graph.operators.append(operator)
    graph.outputs = detections
    graph.tensors[graph.inputs[0]].name = INPUT_NAME
    inputs, results = [_tensor_map(INPUT_NAME, graph.inputs[0])], list(map(_tensor_map, OUTPUT_NAMES, detections))
    signature = set_fields(
        schema.SignatureDefT(), signatureKey=SIGNATURE, subgraphIndex=0, inputs=inputs, outputs=results
    )
    tree.signatureDefs = [signature]
    return pack(tree)


def _add_tensor(
    tree: schema.ModelT, name: str, shape: tuple[int, ...], values: NDArray[np.float32] | None = None
) -> int:
    """Add a float32 tensor, constant if it has values, and return its index."""
    buffer = 0  # by convention, buffer 0 is empty
    if values is not None:
        data = np.frombuffer(np.ascontiguousarray(values, dtype="<f4").tobytes(), dtype=np.uint8)
        buffer = len(tree.buffers)
        tree.buffers.append(set_fields(schema.BufferT(), data=data))
    float32 = schema.TensorType.FLOAT32
    tensors = tree.subgraphs[0].tensors
    tensors.append(set_fields(schema.TensorT(), name=name, shape=list(shape), type=float32, buffer=buffer))
    return len(tensors) - 1


def _tensor_map(name: str, index: int) -> schema.TensorMapT:
    return set_fields(schema.TensorMapT(), name=name, tensorIndex=index)


def _encode(options: PostProcessOptions, *, classes: int, scales: BoxScales) -> bytes:
    """Encode the op's options as a flexbuffer with the keys of its kernel."""
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("max_detections", options.max_detections)
        builder.Int("max_classes_per_detection", 1)
        builder.Bool("use_regular_nms", False)  # noqa: FBT003 - the library's signature
        builder.Float("nms_score_threshold", options.score_threshold)
        builder.Float("nms_iou_threshold", options.iou_threshold)
        builder.Int("num_classes", classes)
        builder.Float("y_scale", scales.y)
        builder.Float("x_scale", scales.x)
        builder.Float("h_scale", scales.height)
        builder.Float("w_scale", scales.width)
    return bytes(builder.Finish())
