"""How moments and studies show themselves in a notebook.

Plain elements without colors of their own, so that they take those of the notebook, light or dark;
what is long folds away in ``<details>``, which needs no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from normstats.findings import method_averages
from normstats.moments import LazyLayers, Moments
from normstats.printable import first_few, printable

if TYPE_CHECKING:
    from normstats.study import Study

_AVERAGES = {
    "mean_bias_sq": "mean: bias²",
    "mean_variance": "mean: variance",
    "std_bias_sq": "std: bias²",
    "std_variance": "std: variance",
    "error": "error",
    "residual": "residual",
    "layers": "layers",
}


def moments_html(moments: Moments) -> str:
    """What was captured and from what; layer by layer, and what is missing, on demand."""
    channels = [count for _, count in moments.shapes.values()]
    layers = pd.DataFrame({"layer": list(map(printable, moments)), "channels": channels})
    if isinstance(moments.layers, LazyLayers):
        where = ["on disk; a layer is read when it is asked for"]
    else:
        where = []
        layers["kind"] = [layer.kind for layer in moments.values()]
        layers["positions"] = [" × ".join(map(str, layer.spatial)) for layer in moments.values()]
    return (
        title(moments)
        + items([*_sources(moments), _classes(moments), *where])
        + details(f"Layers ({len(layers)})", frame(layers))
        + _left_out(moments.left_out)
    )


def study_html(study: Study) -> str:
    """The findings; the averages over layers and what is missing on demand; what can be asked."""
    averages = method_averages(study.tables.errors)[list(_AVERAGES)].rename(columns=_AVERAGES)
    weights = study.settings["weights"]
    unit = "in units of σ², channels weighted by γ²" if weights == "gamma" else "in units of σ²"
    return (
        title(study)
        + items(finding.text for finding in study.findings)
        + details(f"Means over layers, {unit}", frame(averages.reset_index()))
        + (details(f"Left out ({len(study.notes)})", items(study.notes)) if study.notes else "")
        + "<p>Tables: <code>.errors()</code> <code>.layers()</code> <code>.channels()</code> "
        "<code>.crossovers()</code>; figures: <code>.plot</code>; the page: "
        "<code>.to_html(file)</code></p>"
    )


def title(shown: object) -> str:
    """The object's text form, as a heading."""
    return f"<p><strong>{escape(repr(shown))}</strong></p>"


def items(texts: Iterable[str]) -> str:
    """A list; names in it may be anyone's."""
    return f"<ul>{''.join(f'<li>{escape(printable(text))}</li>' for text in texts)}</ul>"


def details(summary: str, content: str) -> str:
    """HTML that folds away."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def frame(table: pd.DataFrame) -> str:
    """A table, its numbers with three digits."""
    return table.to_html(index=False, border=0, float_format="{:.3g}".format, na_rep="–")


def _sources(moments: Moments) -> list[str]:
    named = {"checkpoint": "checkpoint", "images_from": "images"}
    paths = {what: moments.provenance.get(key, {}).get("path") for key, what in named.items()}
    return [f"{what}: {path}" for what, path in paths.items() if path]


def _classes(moments: Moments) -> str:
    if moments.labels is None:
        return "no classes"
    counts = np.bincount(moments.labels, minlength=len(moments.classes))
    least, most = counts.min(), counts.max()
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    named = f": {first_few(moments.classes)}" if moments.classes else ""
    return f"{len(counts)} classes of {each} images{named}"


def _left_out(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    return details(f"Left out ({len(reasons)})", items(f"{n}: {why}" for n, why in reasons.items()))
