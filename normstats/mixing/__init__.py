"""The best mix of BatchNorm's statistics with another method's."""

from normstats.mixing.mixture import Mix, best_mix
from normstats.mixing.table import DEFAULT_BATCHES, DEFAULT_OTHERS, mixing_table

__all__ = ["DEFAULT_BATCHES", "DEFAULT_OTHERS", "Mix", "best_mix", "mixing_table"]
