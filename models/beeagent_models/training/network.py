"""Makes the network of a run ready for its first step."""

import keras
from beeagent.errors import InputError

from beeagent_models.efficientdet.backbone import backbone_layers, load_backbone_weights
from beeagent_models.efficientdet.checkpoint import load_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.efficientdet.model import build_model
from beeagent_models.training.losses import box_loss, focal_loss
from beeagent_models.training.optimizer import make_optimizer
from beeagent_models.training.options import TrainingOptions


def make_network(options: TrainingOptions) -> tuple[keras.Model, EfficientDetConfig]:
    """Build the network, put in the weights to start from, and attach losses and optimizer.

    Raises:
        InputError: the weights cannot be used.
    """
    config = config_for(
        options.model, labels=options.labels, anchor_scale=options.anchor_scale, input_size=options.input_size
    )
    if options.warm_start:
        model, found, _ = load_checkpoint(options.warm_start)
        if found != config:
            raise InputError(
                f"warm start {options.warm_start}: it is a {found.name} with labels {', '.join(found.labels)}, "
                f"input size {found.input_size} and anchor scale {found.anchor_scale:g}, which is not what these "
                "options say"
            )
    else:
        model = build_model(config)
        if options.backbone_weights:
            load_backbone_weights(model, config, options.backbone_weights)
    _freeze(model, options.frozen_stages)
    optimizer = make_optimizer(model, options)
    optimizer.build(model.trainable_variables)
    # TensorFlow's just-in-time compiler makes these steps slower on a CPU.
    model.compile(
        optimizer=optimizer, loss=[box_loss, focal_loss], loss_weights=[options.box_weight, 1.0], jit_compile=False
    )
    return model, config


def _freeze(model: keras.Model, stages: int) -> None:
    """Leave the stem and the first stages of the backbone as they are: what they see, edges and colours, is general."""
    for layer in backbone_layers(model):
        stage = 1 if layer.name == "stem" else int(layer.name.removeprefix("stage").partition("_")[0])
        layer.trainable = stage > stages
