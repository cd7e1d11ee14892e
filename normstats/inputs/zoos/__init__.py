"""The model zoos: their weights by name, and whose architecture some weights are."""

from normstats.inputs.zoos.named import ZooWeights, find_weights
from normstats.inputs.zoos.recognition import Recognition, recognise

__all__ = ["Recognition", "ZooWeights", "find_weights", "recognise"]
