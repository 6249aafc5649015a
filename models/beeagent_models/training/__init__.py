"""Training: what the network is compared with, the loss, the schedule, and the run that can be resumed.

Nothing here reads annotation formats or evaluates a finished model.
"""

from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.run import TrainingProgress, train

__all__ = ["Phase", "TrainingOptions", "TrainingProgress", "train"]
