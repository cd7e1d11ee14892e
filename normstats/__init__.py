"""normstats: how far are a normalization layer's statistics from the ideal per-channel ones?

    import normstats as ns
    model = ns.load_model("resnet20.th", arch="resnet.py:resnet20")
    moments = ns.capture(model, loader)
    study = ns.analyze(moments, methods=["bn@2", "bn@8", "gn:8", "ln"])
    study.errors()

Names are looked up when they are first used, so that ``import normstats`` imports neither torch
nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normstats._version import __version__

if TYPE_CHECKING:
    from normstats.capturing import capture
    from normstats.comparison import Comparison, compare
    from normstats.errors import NormstatsError
    from normstats.inputs import load_model
    from normstats.methods import Method
    from normstats.moments import LayerMoments, Moments
    from normstats.study import Study, analyze, open_study
    from normstats.validation import validate

_HOMES = {
    "Comparison": "normstats.comparison",
    "LayerMoments": "normstats.moments",
    "Method": "normstats.methods",
    "Moments": "normstats.moments",
    "NormstatsError": "normstats.errors",
    "Study": "normstats.study",
    "analyze": "normstats.study",
    "capture": "normstats.capturing",
    "compare": "normstats.comparison",
    "load_model": "normstats.inputs",
    "open_study": "normstats.study",
    "validate": "normstats.validation",
}

__all__ = [
    "Comparison",
    "LayerMoments",
    "Method",
    "Moments",
    "NormstatsError",
    "Study",
    "__version__",
    "analyze",
    "capture",
    "compare",
    "load_model",
    "open_study",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'normstats' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
