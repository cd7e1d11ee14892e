"""What each section of a comparison's page says when asked."""

from __future__ import annotations

from normstats_reports.page_help import Help

_DRIFT = (
    "drift = ((μ' − μ)² + (σ' − σ)²)/σ²,   μ, σ of the earlier run, μ', σ' of the later",
    "noise = (K − 1)·(mean of drift without each of K blocks of images − drift)",
)
_SHIFT = (
    "error of A's statistics on B = ((μ_A − μ_B)² + (s_A − s_B)²)/s_B²,   s² = σ² + ε",
    "error of bn@n on B = Var[M]/s_B² + (E[S] − s_B)²/s_B² + Var[S]/s_B²",
)

HELP = {
    "findings": Help(
        "Each number is that of the median layer: the layer whose value is the median over layers "
        "(of an even number the lower one), with its 95 % confidence interval over images. The "
        "rule behind each finding says where its number comes from and what decided its wording."
    ),
    "drift": Help(
        "How far each channel's population (its mean and standard deviation over all images and "
        "positions) moved between two runs: the squared distance (2-Wasserstein) of normal "
        "distributions, in units of the earlier run's variance; 0.01 is a tenth of a standard "
        "deviation. A layer's value is the mean over channels alive in both runs, weighted as the "
        "earlier run weighs them. Sampling noise, which would count as drift, is estimated and "
        "taken away where the moments are there. Between checkpoints this is internal covariate "
        "shift, as inputs of a layer in eval mode show it: earlier layers use their stored "
        "statistics. The correlation is that of a channel's means over the same images in both "
        "runs, near 1 where it still answers to the same.",
        _DRIFT,
    ),
    "shift": Help(
        "The first run's statistics as constants on another image set, as statistics stored in "
        "training are, against BatchNorm's own statistics of a batch of the new images "
        "(prediction-time BatchNorm: Nado et al. 2020, Schneider et al. 2020). Where the second "
        "are better, re-estimating pays: from that batch size on. It is the error that counts, "
        "not the residual: γ and β are not trained again, so that they absorb nothing. One layer "
        "at a time, and distances of statistics: re-estimating in one layer changes what the next "
        "ones see, and closer statistics are not an accuracy.",
        _SHIFT,
    ),
    "sides": Help(
        "Errors are in units of σ², the residual is the share of the ideal output's variance that "
        "no scale and shift per channel recovers; both are those of each run's own median layer, "
        "with 95 % confidence intervals. Beaten from: the batch size from which BatchNorm's "
        "residual is below the method's. Relative depth is a layer's place among the run's "
        "layers, so that networks of other lengths can be laid over each other.",
        (
            "error = (E[M] − μ)²/s² + Var[M]/s² + (E[S] − s)²/s² + Var[S]/s²,   s² = σ² + ε",
            "residual = 1 − corr(ŷ, y)²,   ŷ = (x − M)/S,   y = (x − μ)/s",
            "relative depth = (place − ½)/layers",
        ),
    ),
}
