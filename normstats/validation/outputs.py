"""Comparing what a network says: class scores of the same images, twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from normstats.errors import CaptureError

_NAMES = ("out", "logits")  # torchvision's segmentation models, transformers


@dataclass(frozen=True)
class Comparison:
    """How an output differs from the reference, image by image.

    Attributes:
        kl: Kullback-Leibler divergence KL(reference ‖ changed) of the softmax, in nats ``(n,)``;
            where there is a class at every position, its mean over positions.
        agreement: whether the likeliest class is the same ``(n,)``; its share of positions.
    """

    kl: Tensor
    agreement: Tensor


def class_scores(output: Any, images: int) -> Tensor:
    """The scores before the softmax, ``(N, K, P)`` of K classes at P positions; P is 1 for
    classifiers.

    Args:
        output: a tensor ``(N, K)`` or ``(N, K, H, W)``, or a mapping with one as ``out`` or
            ``logits``.
        images: N.

    Raises:
        CaptureError: it is something else.
    """
    if isinstance(output, Mapping):
        output = next((output[name] for name in _NAMES if name in output), output)
    if not isinstance(output, Tensor):
        raise _no_scores(f"a {type(output).__name__}")
    shape = tuple(output.shape)
    # (N, T, K) and (N, K, T) cannot be told apart.
    if len(shape) < 2 or len(shape) == 3 or shape[0] != images or shape[1] < 2:
        raise _no_scores(f"a tensor of shape {shape} for {images} images")
    scores = output.detach().reshape(images, shape[1], -1)
    # KL divergences of changes as small as 1e-6 are differences of logarithms near each other.
    # MPS has no float64; a score for every pixel would take too much memory in it.
    exact = scores.shape[2] == 1 and scores.device.type != "mps"
    return scores.to(torch.float64 if exact else torch.float32)


def compare(reference: Tensor, changed: Tensor) -> Comparison:
    """Two outputs of the same images, from ``class_scores``."""
    log_p, log_q = reference.log_softmax(dim=1), changed.log_softmax(dim=1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(dim=1).mean(dim=1)
    same = reference.argmax(dim=1) == changed.argmax(dim=1)
    return Comparison(divergence.clamp(min=0), same.to(divergence.dtype).mean(dim=1))


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether each image's likeliest class is its label, ``(n,)``."""
    return (scores.argmax(dim=1).squeeze(1) == labels.to(scores.device)).to(scores.dtype)


def _no_scores(what: str) -> CaptureError:
    return CaptureError(
        f"The network returns {what}; what is compared are the scores of two classes or more, "
        "(N, classes) or (N, classes, H, W).",
        "Wrap the network in a module that returns its class scores alone.",
    )
