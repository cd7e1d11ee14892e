"""Figures of a study, for notebooks and for the page.

A figure of one panel takes ``ax`` and returns the Axes it drew into; one of several returns the
Figure. None changes matplotlib's settings. In a notebook new Axes are shown after the cell and a
Figure as its value; elsewhere, and inside ``off_screen()``, a new figure belongs to nobody and is
freed with its last reference. Axes that are given keep their own style; names and legends right of
them find room with ``plt.subplots(..., layout="constrained")``.
"""

from normstats_reports.figures.arranged import arrangements
from normstats_reports.figures.batches import batch_curve, tradeoff
from normstats_reports.figures.cells import heat_map, plane
from normstats_reports.figures.channels import channel_map
from normstats_reports.figures.compositions import composition
from normstats_reports.figures.depth import depth_profiles
from normstats_reports.figures.groups import grouping
from normstats_reports.figures.mixtures import mixing
from normstats_reports.figures.outputs import damage
from normstats_reports.figures.stacks import error_parts
from normstats_reports.figures.style import off_screen
from normstats_reports.figures.svg import figure_svg

__all__ = [
    "arrangements",
    "batch_curve",
    "channel_map",
    "composition",
    "damage",
    "depth_profiles",
    "error_parts",
    "figure_svg",
    "grouping",
    "heat_map",
    "mixing",
    "off_screen",
    "plane",
    "tradeoff",
]
