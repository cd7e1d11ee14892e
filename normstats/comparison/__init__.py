"""Several runs side by side: what moved between checkpoints, models, or image sets.

``compare`` tells from where the runs come from what they are (``kinds``), measures how far each
layer's population moved (``drift``), what re-estimating the statistics on other images would gain
(``shift``), and sets errors and crossovers side by side by relative depth.
"""

from normstats.comparison.comparison import Comparison, compare
from normstats.comparison.kinds import KINDS, Kind

__all__ = ["KINDS", "Comparison", "Kind", "compare"]
