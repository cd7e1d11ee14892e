"""Four figures as images, to be compared with those in tests/reports/baseline.

Words are left out, and legends, whose places follow from them: another FreeType draws them so
differently that a moved curve would hide behind it. What they say and where they stand is tested
on the figures themselves.

PYTHONPATH=tests python -m helpers.figure_images makes the baselines anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from helpers.pages import make_study
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.text import Text

import normstats as ns
from normstats_reports import figures

BASELINE = Path(__file__).parents[1] / "reports" / "baseline"
DRAWN: dict[str, Callable[[ns.Study], Axes]] = {
    "tradeoff": lambda study: figures.tradeoff(study, "body.0"),
    "batch-curve": lambda study: figures.batch_curve(study, "body.0", "residual"),
    "heat-map": figures.heat_map,
    "channel-map": lambda study: figures.channel_map(study, "stem", groups=4),
}


def settled_study() -> ns.Study:
    """A study whose errors are set here, so that the images change with the figures alone."""
    study = make_study()
    errors, crossovers = study.errors(), study.crossovers()
    depth = 1 + errors["layer"].map({name: i for i, name in enumerate(errors["layer"].unique())})
    share = 1 - errors["groups"].astype(float) / errors["channels"]  # of channels that are pooled
    stored = errors["method"] == "running"
    errors["mean_bias_sq"] = (0.3 * share).mask(stored, 0.002)
    errors["std_bias_sq"] = (0.02 / errors["batch"].astype(float) ** 2 + 0.1 * share).mask(
        stored, 0.001
    )
    for term, value in (("mean_variance", 0.1), ("std_variance", 0.06)):
        noise = value * depth * (1 - 0.8 * share) / errors["batch"].astype(float)
        errors[term] = noise.mask(stored, 0.0)
    errors["residual"] = errors["mean_variance"] + errors["std_variance"]
    errors["error"] = errors["residual"] + errors["mean_bias_sq"] + errors["std_bias_sq"]
    for quantity in ("error", "residual"):
        errors[f"{quantity}_low"] = 0.9 * errors[quantity]
        errors[f"{quantity}_high"] = 1.1 * errors[quantity]
    residual = errors.set_index(["layer", "method"])["residual"]
    chosen = crossovers["quantity"] == "residual"
    met = [
        residual[layer, "bn@1"] / residual[layer, method]
        if residual[layer, method]
        else float("inf")
        for layer, method in zip(crossovers["layer"], crossovers["method"], strict=True)
    ]
    crossovers["batch_number"] = met
    crossovers["batch_low"] = 0.9 * crossovers["batch_number"]
    crossovers["batch_high"] = 1.1 * crossovers["batch_number"]
    tables = replace(study.tables, errors=errors, crossovers=crossovers[chosen])
    return replace(study, tables=tables)


def draw(study: ns.Study, name: str) -> Axes:
    with figures.off_screen():
        return DRAWN[name](study)


def save(ax: Axes, file: Path) -> Path:
    ax.figure.draw_without_rendering()  # makes the labels of the ticks
    for words in (*ax.figure.findobj(Text), *ax.figure.findobj(Legend)):
        words.set_visible(False)
    ax.figure.savefig(file, dpi=60, metadata={"Software": None})
    return file


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    study = settled_study()
    for name in DRAWN:
        save(draw(study, name), BASELINE / f"{name}.png")
