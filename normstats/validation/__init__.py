"""Does an error of statistics matter? One layer's are replaced in the real network, and its output
is compared.
"""

from __future__ import annotations

from normstats.validation.correlation import Correlations
from normstats.validation.experiment import Estimate, Experiment, validate
from normstats.validation.result import Validation

__all__ = ["Correlations", "Estimate", "Experiment", "Validation", "validate"]
