import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beeagent.errors import InputError
from numpy.typing import NDArray

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from beeagent_models.efficientdet import (  # noqa: E402 - imports Keras, and so comes after the question for it
    EfficientDetConfig,
    anchor_boxes,
    build_model,
    config_for,
    halve_checkpoint,
    load_backbone_weights,
    load_checkpoint,
    read_config,
    save_checkpoint,
    scale_class_logits,
)

pytestmark = pytest.mark.training

# Output channels, kernel and stride of EfficientNet-Lite0's blocks, and whether they expand, written out one by one.
LITE0_BLOCKS = [
    (16, 3, 1, 1),
    (24, 3, 2, 6), (24, 3, 1, 6),
    (40, 5, 2, 6), (40, 5, 1, 6),
    (80, 3, 2, 6), (80, 3, 1, 6), (80, 3, 1, 6),
    (112, 5, 1, 6), (112, 5, 1, 6), (112, 5, 1, 6),
    (192, 5, 2, 6), (192, 5, 1, 6), (192, 5, 1, 6), (192, 5, 1, 6),
    (320, 3, 1, 6),
]  # fmt: skip


def config() -> EfficientDetConfig:
    return config_for("lite0", labels=("bee",))


def tiny() -> EfficientDetConfig:
    """The same architecture, thin and shallow."""
    return EfficientDetConfig(
        name="tiny",
        labels=("bee", "wasp"),
        input_size=64,
        width_coefficient=0.25,
        depth_coefficient=0.5,
        bifpn_width=8,
        bifpn_repeats=1,
        head_repeats=1,
    )


@pytest.fixture(autouse=True)
def forget_models() -> Iterator[None]:
    yield
    keras.backend.clear_session()


def folded_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Random weights in the form of the ImageNet file."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float32]] = {}

    def add(kind: str, shape: tuple[int, int, int, int], fan_in: int) -> None:
        number = f"{len(arrays) // 2:02}_{kind}"
        arrays[f"{number}_w"] = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        arrays[f"{number}_b"] = rng.normal(0, 0.3, shape[3] if kind == "dw" else shape[0]).astype(np.float32)

    add("conv", (32, 3, 3, 3), 27)
    arrays["00_conv_w"] /= 128
    inputs = 32
    for channels, kernel, _, expansion in LITE0_BLOCKS:
        inner = inputs * expansion
        if expansion > 1:
            add("conv", (inner, 1, 1, inputs), inputs)
        add("dw", (1, kernel, kernel, inner), kernel**2)
        add("conv", (channels, 1, 1, inner), inner)
        inputs = channels
    add("conv", (1280, 1, 1, 320), 320)
    return arrays


def features_by_hand(arrays: dict[str, NDArray[np.float32]], pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """EfficientNet-Lite0 as TensorFlow's own operations, from RGB minus 127, by the file's numbering alone."""
    layers = iter(range(len(arrays) // 2))

    def convolve(x: Any, kind: str, stride: int) -> Any:  # noqa: ANN401 - TensorFlow ships no types
        key = f"{next(layers):02}_{kind}"
        kernel, bias = arrays[f"{key}_w"], arrays[f"{key}_b"]
        if kind == "dw":
            return tf.nn.depthwise_conv2d(x, kernel.transpose(1, 2, 3, 0), [1, stride, stride, 1], "SAME") + bias
        return tf.nn.conv2d(x, kernel.transpose(1, 2, 3, 0), stride, "SAME") + bias

    outputs = []
    x = tf.nn.relu6(convolve(pixels - 127, "conv", 2))
    for channels, _, stride, expansion in LITE0_BLOCKS:
        source = x
        if expansion > 1:
            x = tf.nn.relu6(convolve(x, "conv", 1))
        x = tf.nn.relu6(convolve(x, "dw", stride))
        x = convolve(x, "conv", 1)
        if stride == 1 and source.shape[-1] == channels:
            x = x + source
        outputs.append(x.numpy())
    return [outputs[4], outputs[10], outputs[15]]


def features_of(
    model: Any,  # noqa: ANN401 - Keras ships no types
    settings: EfficientDetConfig,
    pixels: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    names = ["stage3_block2_add", "stage5_block3_add", "stage7_block1_project"]
    inner = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return [value.numpy() for value in inner((pixels - settings.mean) / settings.std)]


@pytest.mark.parametrize(
    ("name", "millions"), [("lite0", 3.2), ("lite1", 4.2), ("lite2", 5.3), ("lite3", 8.4), ("lite4", 15.1)]
)
def test_sizes_are_the_published_ones(name: str, millions: float) -> None:
    coco = tuple(f"class {number}" for number in range(90))
    assert build_model(config_for(name, labels=coco)).count_params() / 1e6 == pytest.approx(millions, abs=0.07)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (320, 320), (100, 76)])
def test_outputs_fit_the_anchors_at_any_size(size: tuple[int, int]) -> None:
    settings = tiny()
    codes, logits = build_model(settings)(np.zeros((2, *size, 3), np.float32))
    anchors = len(anchor_boxes(settings, *size))
    assert tuple(codes.shape) == (2, anchors, 4)
    assert tuple(logits.shape) == (2, anchors, 2)


def test_open_and_fixed_input_size_agree() -> None:
    settings = tiny()
    still, opened = build_model(settings, (96, 64)), build_model(settings)
    opened.set_weights(still.get_weights())
    image = np.random.default_rng(0).normal(0, 1, (1, 96, 64, 3)).astype(np.float32)
    for here, there in zip(still(image), opened(image), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 384), (384, 128)])
def test_outputs_are_in_the_order_of_the_anchors(height: int, width: int) -> None:
    """An output changes with the pixels near its anchor, and not with those far from it."""
    settings = tiny()
    model = build_model(settings, (height, width))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name == "class_predict":
            layer.set_weights([rng.normal(0, 1, weight.shape) for weight in layer.get_weights()])
    image = rng.normal(0, 1, (1, height, width, 3)).astype(np.float32)
    changed = image.copy()
    changed[:, 200:208, 40:48] += 3
    difference = np.abs(model(changed)[1].numpy() - model(image)[1].numpy())[0].max(-1)
    finest = difference[: (height // 8) * (width // 8) * 9]
    anchor = anchor_boxes(settings, height, width)[int(finest.argmax())]
    np.testing.assert_allclose(anchor[:2] * (height, width), [204, 44], atol=40)


def test_an_untrained_network_calls_nearly_nothing_an_object() -> None:
    scores = 1 / (1 + np.exp(-build_model(config(), 64)(np.zeros((1, 64, 64, 3), np.float32))[1].numpy()))
    assert scores.max() == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (0.6, -1.5), (2.5, 0.75)])
def test_class_logits_are_scaled_by_changing_the_last_layer_alone(scale: float, bias: float) -> None:
    keras.utils.set_random_seed(3)
    model = build_model(tiny(), 64)
    images = np.random.default_rng(3).normal(size=(2, 64, 64, 3)).astype(np.float32)
    boxes, logits = (np.asarray(output) for output in model(images))
    before = {weight.path: np.array(weight) for weight in model.weights}
    scale_class_logits(model, scale=scale, bias=bias)
    new_boxes, new_logits = (np.asarray(output) for output in model(images))
    assert new_logits == pytest.approx(scale * logits + bias, abs=1e-4)
    assert (new_boxes == boxes).all()
    changed = {
        path.split("/")[0] for weight in model.weights if not np.array_equal(before[path := weight.path], weight)
    }
    assert changed == (set() if (scale, bias) == (1, 0) else {"class_predict"})


def test_no_weight_is_left_that_the_converter_cannot_fold() -> None:
    """Every batch normalisation directly follows a convolution."""
    model = build_model(tiny(), 64)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    convolutions = (keras.layers.Conv2D, keras.layers.SeparableConv2D)
    for norm in norms:
        (node,) = norm._inbound_nodes
        assert isinstance(node.input_tensors[0]._keras_history.operation, convolutions)


def test_folded_weights_compute_the_same_features(tmp_path: Path) -> None:
    arrays = folded_weights(3)
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **arrays)
    model = build_model(config())
    assert load_backbone_weights(model, config(), tmp_path / "weights.npz") == 48
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    for ours, wanted in zip(features_of(model, config(), pixels), features_by_hand(arrays, pixels), strict=True):
        # The network carries a quarter of the values between its blocks.
        np.testing.assert_allclose(ours * 4, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_the_imagenet_weights_see_alike_in_alike_images() -> None:
    cv2 = pytest.importorskip("cv2")
    data = Path(os.environ.get("BEEAGENT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = data / "weights" / "efficientnet_lite0_imagenet_backbone_dequant.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    model = build_model(config())
    assert load_backbone_weights(model, config(), path) == 48
    arrays = dict(np.load(path))
    images = []
    for name in ("ramp", "hive"):
        found = cv2.imread(str(min((data / name / "images").iterdir())))
        images.append(cv2.resize(found, (224, 224))[..., ::-1].astype(np.float32))
    first, second = images
    batch = np.stack([first, first[:, ::-1], second])
    ours = features_of(model, config(), batch)
    for here, wanted in zip(ours, features_by_hand(arrays, batch), strict=True):
        np.testing.assert_allclose(here * 4, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    pooled = ours[-1].mean((1, 2))
    mirrored = np.corrcoef(pooled[0], pooled[1])[0, 1]
    other = np.corrcoef(pooled[0], pooled[2])[0, 1]
    assert mirrored > 0.9
    assert mirrored > other + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"00_conv_w": np.zeros((32, 3, 3, 4), np.float32)}, "00_conv_w does not fit"),
        ({"10_dw_b": None}, "10_dw_w does not fit"),
        ({f"{n:02}_conv_w": None for n in range(49)}, "16 layers, but lite0 has 48"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: dict[str, NDArray[np.float32] | None], message: str
) -> None:
    arrays = {**folded_weights(0), **change}
    kept = {key: value for key, value in arrays.items() if value is not None}
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **kept)
    with pytest.raises(InputError, match=message):
        load_backbone_weights(build_model(config()), config(), tmp_path / "weights.npz")


def test_weights_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="not a readable"):
        load_backbone_weights(build_model(tiny()), tiny(), tmp_path / "weights.npz")


def saved(folder: Path) -> tuple[Path, Any]:
    model = build_model(tiny())
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1, weight.shape) for weight in model.get_weights()])
    save_checkpoint(folder / "model.npz", model, tiny(), {"data": "bees", "steps": 3})
    return folder / "model.npz", model


def test_checkpoint_restores_everything(tmp_path: Path) -> None:
    path, model = saved(tmp_path)
    loaded, settings, provenance = load_checkpoint(path)
    assert settings == tiny()
    assert provenance == {"data": "bees", "steps": 3}
    for here, there in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]


def test_float16_checkpoint_rounds_kernels_and_keeps_vectors(tmp_path: Path) -> None:
    path, model = saved(tmp_path)
    tiny_variance = np.full_like(model.weights[-1].numpy(), 1e-9)  # rounds to 0 in float16
    model.weights[-1].assign(tiny_variance)
    save_checkpoint(path, model, tiny(), {"steps": 3})
    halve_checkpoint(path, tmp_path / "half.npz")
    save_checkpoint(tmp_path / "saved.npz", model, tiny(), {"steps": 3}, half=True)
    assert (tmp_path / "half.npz").read_bytes() == (tmp_path / "saved.npz").read_bytes()
    loaded, settings, provenance = load_checkpoint(tmp_path / "half.npz")
    assert settings == tiny() == read_config(tmp_path / "half.npz")
    assert provenance == {"steps": 3}
    for here, there in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert here.dtype == np.float32
        np.testing.assert_allclose(here, there, rtol=2**-11 if there.ndim > 1 else 0, atol=2**-25)
    np.testing.assert_array_equal(loaded.weights[-1].numpy(), tiny_variance)


def test_float16_checkpoint_of_lite0_is_under_8_megabytes(tmp_path: Path) -> None:
    config = config_for("lite0", labels=("bee",))
    save_checkpoint(tmp_path / "half.npz", build_model(config), config, {}, half=True)
    assert (tmp_path / "half.npz").stat().st_size < 8_000_000


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_one_clear_line(tmp_path: Path, share: float) -> None:
    path, _ = saved(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"model\.npz: truncated or not a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError):
        load_checkpoint(path)


def test_a_missing_checkpoint_and_another_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "model.npz")
    np.savez(tmp_path / "model.npz", some=np.zeros(3))
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "model.npz")


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(InputError, match="lite9"):
        config_for("lite9", labels=("bee",))
    with pytest.raises(InputError, match="labels"):
        config_for("lite0", labels=())
    with pytest.raises(InputError, match="labels"):
        config_for("lite0", labels=("bee", "bee"))
    with pytest.raises(InputError, match="anchor scale"):
        config_for("lite0", labels=("bee",), anchor_scale=0)
    with pytest.raises(InputError, match="input size"):
        config_for("lite0", labels=("bee",), input_size=10)
    with pytest.raises(InputError, match="does not fit"):
        EfficientDetConfig.from_json({"name": "lite0"})
    with pytest.raises(InputError, match="input size"):
        build_model(config(), 16)
