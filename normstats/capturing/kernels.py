"""The spatial mean and variance of every image and channel: all that is kept of an activation.

On the CPU one pass over the values, at about the speed at which memory gives them, in either
layout; a second one over the channels whose digits the first would lose. Elsewhere two passes of
PyTorch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_moments(x: Tensor, channel_dim: int = 1) -> Tensor:
    """Mean and biased variance of each image and channel over all other positions.

    The textbook E[x²] − E[x]² loses every digit where the mean is large against the spread; here
    values are centred before they are squared, and the result is accurate to rounding.

    Args:
        x: floating-point values; the images on axis 0, any number of position axes, any memory
            layout. ``(N, C)`` counts as one position. Half precision is computed in float32.
        channel_dim: the axis that holds the channels.

    Returns:
        mean and variance, ``(2, N, C)``, float64 where ``x`` is, else float32. It does not share
        memory with ``x``.
    """
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if x.is_cpu:
        # Compiling, or reading what was compiled, takes a second: only where it is needed.
        from normstats.capturing.compiled import moments_of_values

        return moments_of_values(x, channel_dim)
    x = x.detach().movedim(channel_dim, 1)
    return _two_passes(x.unsqueeze(2) if x.ndim == 2 else x.flatten(2))


def _two_passes(x: Tensor) -> Tensor:
    """The two-pass algorithm, corrected (Chan, Golub & LeVeque 1983), over the last axis.

    Centre on the mean, then take the mean of what is left, δ, out of both results.
    """
    mean = x.mean(2, keepdim=True)
    centred = x - mean
    delta = centred.mean(2)
    # In place: the centred copy is as large as the activation itself.
    variance = centred.square_().mean(2) - delta.square()
    return torch.stack([mean.squeeze(2) + delta, variance.clamp_(min=0)])
