"""The (images, channels) plane: the error of every method that pools B images and C/G channels."""

from normstats.plane.cells import Cell, group_sizes, plane_of
from normstats.plane.table import DEFAULT_BATCHES, best_at, frontier, plane_table

__all__ = [
    "DEFAULT_BATCHES",
    "Cell",
    "best_at",
    "frontier",
    "group_sizes",
    "plane_of",
    "plane_table",
]
