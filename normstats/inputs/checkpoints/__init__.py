"""Checkpoint files: what they are, what is in them, and how it gets into a network."""

from normstats.inputs.checkpoints.reading import Checkpoint, read_checkpoint
from normstats.inputs.checkpoints.weights import load_into

__all__ = ["Checkpoint", "load_into", "read_checkpoint"]
