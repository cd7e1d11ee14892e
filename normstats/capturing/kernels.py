"""The spatial mean and variance of every image and channel: all that is kept of an activation."""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_moments(x: Tensor, channel_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each image and channel over all other positions.

    The two-pass algorithm, corrected (Chan, Golub & LeVeque 1983): centre on the mean, then take
    the mean of what is left, δ, out of both results. The textbook E[x²] − E[x]² loses every digit
    where the mean is large against the spread; here the result is accurate to rounding.

    Args:
        x: floating-point values; the images on axis 0, any number of position axes, any memory
            layout. ``(N, C)`` counts as one position. Half precision is computed in float32.
        channel_dim: the axis that holds the channels.

    Returns:
        mean ``(N, C)`` and variance ``(N, C)``, float64 where ``x`` is, else float32. Neither
        shares memory with ``x``.
    """
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    x = x.movedim(channel_dim, 1)
    if x.ndim == 2:
        x = x.unsqueeze(2)
    positions = tuple(range(2, x.ndim))
    mean = x.mean(positions, keepdim=True)
    centred = x - mean
    delta = centred.mean(positions)
    # In place: the centred copy is as large as the activation itself.
    variance = centred.square_().mean(positions) - delta.square()
    return mean.squeeze(positions) + delta, variance.clamp_(min=0)
