"""What each section of the page says when asked: a few sentences and the formula."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Help:
    """An explanation.

    Attributes:
        sentences: what is shown, and how it is read.
        formulas: what is computed, one a line.
    """

    sentences: str
    formulas: tuple[str, ...] = ()


_ERROR = (
    "error = (E[M] − μ)²/s² + Var[M]/s² + (E[S] − s)²/s² + Var[S]/s²,   s² = σ² + ε",
    "bias² = the first and third terms; variance = the second and fourth",
)
_RESIDUAL = "residual = 1 − corr(ŷ, y)²,   ŷ = (x − M)/S,   y = (x − μ)/s"

HELP = {
    "findings": Help(
        "Each number is that of the median layer: the layer whose value is the median over layers "
        "(of an even number the lower one), with its 95 % confidence interval over images. The "
        "rule behind each finding says where its number comes from and what decided its wording."
    ),
    "layers": Help(
        "A row a layer. Effective samples: how many independent values one image is worth to a "
        "channel's mean. Errors are in units of σ², averaged over the layer's live channels. "
        "Beaten from: the batch size from which BatchNorm's residual is below the method's; <1 is "
        "always, and > a size is at none that was computed.",
        ("effective samples = σ²/τ²,   τ² = var(m), m the spatial means of the images", *_ERROR),
    ),
    "heat-map": Help(
        "How far each method's statistics are from the ideal ones in each layer: the expected "
        "squared distance (2-Wasserstein) between N(M, V) and N(μ, σ²), in units of σ². M and "
        "V are what the method normalizes with, μ and σ² the channel's ideal mean and variance.",
        _ERROR,
    ),
    "error-parts": Help(
        "Bias is constant over batches, and a learned scale and shift can absorb it; variance "
        "changes from batch to batch (or image to image), and they cannot.",
        _ERROR,
    ),
    "depth": Help(
        "How the layers change from the input to the output of the network: what an image is "
        "worth, from which batch size BatchNorm is better, and how alike channels are.",
        ("effective samples = σ²/τ²", "B*: where BatchNorm's curve meets the method's level"),
    ),
    "grouping": Help(
        "GroupNorm groups channels by their index. If channels of a group were more alike than "
        "by chance, its bias² would be lower than that of random groups of the same size. Filled "
        "points are layers where it is (q < 0.05).",
        (
            "p = (1 + random groupings with no more bias²)/(1 + permutations)",
            "q: p for many layers at once (Benjamini and Hochberg 1995)",
        ),
    ),
    "arrangements": Help(
        "The same number of groups with other channels in them: at random (the grouping of median "
        "bias²), by similar mean and standard deviation, by correlated activity over images, and "
        "the best that a search found. They were chosen on the same images that they are judged "
        "by. A mark is a layer; below 1 is better than groups by index.",
        ("ratio = value of the arrangement/value of the index groups",),
    ),
    "composition": Help(
        "Images of one class resemble each other, so that a batch of one class has fewer "
        "independent values than one drawn from all (iid), and its error falls only to a floor: "
        "the distance of a class's own statistics from those of all images. Labels that say "
        "nothing have a floor too, by chance, as class means of few images differ; a floor means "
        "something where it is well above that. Class-balanced batches have each class alike.",
        (
            "floor = Σ p_k·[(μ_k − μ)² + (s_k − s)²]/s²,   k: classes, p_k: their shares",
            "share = Σ p_k·(μ_k − μ)²/τ²;   corrected: without what chance gives (Kelley 1935)",
        ),
    ),
    "mixing": Help(
        "A convex mix of a batch's statistics with another method's, the share λ the same for all "
        "channels of a layer and chosen for the least error: stored statistics (running) lend "
        "what earlier images knew, GroupNorm what other channels of the image do. Worth images: "
        "how many more images in the batch the other method stands for.",
        (
            "M = (1 − λ)·M_batch + λ·M_other,   V = (1 − λ)·V_batch + λ·V_other",
            "worth = B·λ/(1 − λ);   saved = 1 − error/min(error at λ = 0, error at λ = 1)",
        ),
    ),
    "validation": Help(
        "One layer's statistics at a time are replaced in the network itself, and its output "
        "compared with that under ideal statistics: as it is against the error, and with the "
        "layer's scale and shift fitted anew against the residual. Numbers that rank the methods "
        "as the output does are worth deciding by.",
        ("KL = Σ p_ideal · log(p_ideal/p_replaced), in nats, mean over images",),
    ),
    "each-layer": Help(
        "All terms of a layer's error for every method, each with its 95 % confidence interval "
        "over images. Residual is the share of the ideal output's variance that no scale and "
        "shift per channel recovers. The last two columns are quantiles over channels.",
        (*_ERROR, _RESIDUAL),
    ),
    "tradeoff": Help(
        "Each method at its bias² and variance: more images a batch move a method to less "
        "variance, more channels a group to less variance and more bias².",
        _ERROR,
    ),
    "batch-curve": Help(
        "BatchNorm's error falls as the batch grows; methods that see one image stay at their "
        "level. Where the curve meets a level is the crossover B*.",
        ("B*: interpolated in log-log between the computed sizes",),
    ),
    "channel-map": Help(
        "Each channel at its ideal mean and standard deviation. LayerNorm and GroupNorm take the "
        "channels they pool for alike; the wider the cloud, the larger their bias. Dead channels "
        "(σ² ≤ ε) are counted, but not averaged over.",
        ("μ = mean(m),   σ² = mean(s2 + (m − μ)²)",),
    ),
    "plane": Help(
        "Every method is a cell: how many images B and how many channels a group C/G it pools. "
        "More of either cut variance; channels that differ add bias. Framed cells are the "
        "frontier: the least error for each number B·C/G of pooled values.",
        _ERROR,
    ),
}
