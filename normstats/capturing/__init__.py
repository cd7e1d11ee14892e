"""From a network and images to moments; knows PyTorch, and nothing of statistics."""

from __future__ import annotations

from normstats.capturing.calling import is_detector
from normstats.capturing.description import LayerDescription, describe_layers
from normstats.capturing.devices import resolve_device
from normstats.capturing.example import example_input
from normstats.capturing.kernels import spatial_moments
from normstats.capturing.resumable import capture_parts
from normstats.capturing.run import Capturer, capture
from normstats.capturing.trial import Trial, Way, fastest

__all__ = [
    "Capturer",
    "LayerDescription",
    "Trial",
    "Way",
    "capture",
    "capture_parts",
    "describe_layers",
    "example_input",
    "fastest",
    "is_detector",
    "resolve_device",
    "spatial_moments",
]
