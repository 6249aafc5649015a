"""The commands of this package. Heavy imports are inside the commands, because the device's command line lists them."""

from beeagent_models.cli.commands import archive, compare, evaluate, show, train
from beeagent_models.cli.dataset_commands import collect, dataset

__all__ = ["archive", "collect", "compare", "dataset", "evaluate", "show", "train"]
