"""Training: one loop for every model that can say how many nats a batch costs it."""

from genesis.train.config import TrainConfig, learning_rate
from genesis.train.folder import Progress
from genesis.train.loop import train

__all__ = ["Progress", "TrainConfig", "learning_rate", "train"]
