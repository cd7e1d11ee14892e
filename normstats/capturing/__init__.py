"""From a network and images to moments; knows PyTorch, and nothing of statistics."""

from __future__ import annotations

from normstats.capturing.calling import is_detector
from normstats.capturing.description import LayerDescription, describe_layers
from normstats.capturing.devices import resolve_device
from normstats.capturing.example import example_input
from normstats.capturing.kernels import spatial_moments
from normstats.capturing.run import capture

__all__ = [
    "LayerDescription",
    "capture",
    "describe_layers",
    "example_input",
    "is_detector",
    "resolve_device",
    "spatial_moments",
]
