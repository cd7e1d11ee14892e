"""The spatial mean and variance of every image and channel: all that is kept of an activation.

On the CPU one pass over the values, at about the speed at which memory gives them, in either
layout; a second one over the channels whose digits the first would lose. Elsewhere two passes of
PyTorch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_moments(x: Tensor, channel_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each image and channel over all other positions.

    The textbook E[x²] − E[x]² loses every digit where the mean is large against the spread; here
    values are centred before they are squared, and the result is accurate to rounding.

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
    x = x.detach().movedim(channel_dim, 1)
    x = x.unsqueeze(2) if x.ndim == 2 else x.flatten(2)
    if x.device.type != "cpu":
        return _two_passes(x)
    # Compiling, or reading what was compiled, takes a second: only where it is needed.
    from normstats.capturing.compiled import moments_of_columns, moments_of_rows

    if x.stride(1) == 1 and x.shape[1] > 1:  # the channels of a position lie side by side
        return moments_of_columns(x.transpose(1, 2).contiguous())
    return moments_of_rows(x.contiguous())


def _two_passes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two-pass algorithm, corrected (Chan, Golub & LeVeque 1983), over the last axis.

    Centre on the mean, then take the mean of what is left, δ, out of both results.
    """
    mean = x.mean(2, keepdim=True)
    centred = x - mean
    delta = centred.mean(2)
    # In place: the centred copy is as large as the activation itself.
    variance = centred.square_().mean(2) - delta.square()
    return mean.squeeze(2) + delta, variance.clamp_(min=0)
