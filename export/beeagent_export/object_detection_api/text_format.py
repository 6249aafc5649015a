"""Parses the text files of the Object Detection API; fields that an export does not need are ignored."""

from collections.abc import Mapping
from typing import Any

from beeagent.errors import InputError
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_F = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "beeagent_export"

# Names and defaults as in https://github.com/tensorflow/models/tree/master/research/object_detection/protos.
# Field numbers are arbitrary, because the text format does not have them.
_MESSAGES: Mapping[str, Mapping[str, Any]] = {
    "Pipeline": {"model": "Model"},
    "Model": {"ssd": "Ssd"},
    "Ssd": {
        "num_classes": _F.TYPE_INT32,
        "image_resizer": "ImageResizer",
        "feature_extractor": "FeatureExtractor",
        "box_coder": "BoxCoder",
        "post_processing": "PostProcessing",
        "add_background_class": (_F.TYPE_BOOL, "true"),
    },
    "ImageResizer": {"keep_aspect_ratio_resizer": "KeepAspectRatio", "fixed_shape_resizer": "FixedShape"},
    "KeepAspectRatio": {
        "min_dimension": (_F.TYPE_INT32, "600"),
        "max_dimension": (_F.TYPE_INT32, "1024"),
        "pad_to_max_dimension": _F.TYPE_BOOL,
    },
    "FixedShape": {"height": (_F.TYPE_INT32, "300"), "width": (_F.TYPE_INT32, "300")},
    "FeatureExtractor": {"type": _F.TYPE_STRING},
    "BoxCoder": {"faster_rcnn_box_coder": "FasterRcnnBoxCoder"},
    "FasterRcnnBoxCoder": {
        "y_scale": (_F.TYPE_FLOAT, "10"),
        "x_scale": (_F.TYPE_FLOAT, "10"),
        "height_scale": (_F.TYPE_FLOAT, "5"),
        "width_scale": (_F.TYPE_FLOAT, "5"),
    },
    "PostProcessing": {"score_converter": (_F.TYPE_ENUM, "IDENTITY")},
    "LabelMap": {"item": ["Item"]},
    "Item": {"id": _F.TYPE_INT32, "name": _F.TYPE_STRING, "display_name": _F.TYPE_STRING},
}
_SCORE_CONVERTERS = ("IDENTITY", "SIGMOID", "SOFTMAX")


def parse_text(message: str, text: str, *, where: str) -> Any:  # noqa: ANN401 - a class made at run time
    """Read a text file of the Object Detection API.

    Args:
        message: `Pipeline` or `LabelMap`.
        text: content of the file.
        where: path of the file, for errors.

    Returns:
        The message, with its fields as attributes.

    Raises:
        InputError: the text is not the text format of a protocol buffer.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())  # type: ignore[no-untyped-call, unused-ignore]  # protobuf is typed in some versions
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{message}"))  # type: ignore[no-untyped-call, unused-ignore]
    result = kind()
    try:
        text_format.Parse(text, result, allow_unknown_field=True)
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: is not the text format of a protocol buffer: {' '.join(str(error).split())[:200]}"
        ) from None
    return result


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="beeagent_export.proto", package=_PACKAGE, syntax="proto2")
    converters = file.enum_type.add(name="ScoreConverter")
    for number, name in enumerate(_SCORE_CONVERTERS):
        converters.value.add(name=name, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add(message, field, number, kind)
    return file


def _add(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: Any) -> None:  # noqa: ANN401 - see above
    repeated = isinstance(kind, list)
    kind = kind[0] if repeated else kind
    field = message.field.add(name=name, number=number, label=_F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL)
    if isinstance(kind, str):
        field.type, field.type_name = _F.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        return
    field.type, default = kind if isinstance(kind, tuple) else (kind, None)
    if field.type == _F.TYPE_ENUM:
        field.type_name = f".{_PACKAGE}.ScoreConverter"
    if default is not None:
        field.default_value = default
