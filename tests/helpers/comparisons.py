"""Runs to compare: checkpoints, image sets and models, small and made from pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from helpers.enumeration import Array, make_pixels, moments_of
from helpers.pages import HOSTILE, HOSTILE_QUOTED, METHODS

import normstats as ns

NAMES = ("stem", "body.0", "body.1", "head")


def make_run(
    pixels: Mapping[str, Array] | None = None,
    *,
    checkpoint: str | None = "a" * 64,
    images: str | None = "1" * 64,
    methods: Sequence[str] = METHODS,
    left_out: Mapping[str, str] | None = None,
    weights: str = "gamma",
    path: str = "net.th",
) -> ns.Study:
    """A study of layers made of these pixels, by name, that says where it comes from.

    Args:
        pixels: by layer, ``(N, C, H, W)``; four layers of eight channels by default.
        checkpoint: its SHA-256; None where nobody knows.
        images: their fingerprint; None where nobody knows.
        methods: to be computed.
        left_out: layers that could not be captured.
        weights: how channels count.
        path: of the checkpoint and the images.
    """
    pixels = make_layers() if pixels is None else pixels
    layers = {
        name: moments_of(
            values,
            kind="BatchNorm2d",
            gamma=np.linspace(0.5, 2, values.shape[1]),
            running_mean=np.zeros(values.shape[1]),
            running_variance=np.ones(values.shape[1]),
        )
        for name, values in pixels.items()
    }
    provenance: dict[str, Any] = {"device": "cpu"}
    if checkpoint:
        provenance["checkpoint"] = {"path": path, "sha256": checkpoint}
    if images:
        provenance["images_from"] = {"path": path, "sha256": images, "input": "as they are"}
    moments = ns.Moments(layers, left_out=dict(left_out or {}), provenance=provenance)
    return ns.analyze(moments, list(methods), draws=64, weights=weights)  # type: ignore[arg-type]


def make_layers(
    names: Sequence[str] = NAMES, *, images: int = 40, shift: float = 0.0, scale: float = 1.0
) -> dict[str, Array]:
    """Pixels by layer; those of equal images differ by ``scale`` and then by ``shift``."""
    return {
        name: make_pixels(images, 8, seed=seed) * scale + shift for seed, name in enumerate(names)
    }


def make_epochs() -> ns.Comparison:
    """Three checkpoints of one training on the same images."""
    steps = {"epoch-1": (0.0, 1.0), "epoch-2": (1.0, 1.5), "epoch-9": (1.2, 1.6)}
    return ns.compare(
        {
            name: make_run(make_layers(shift=shift, scale=scale), checkpoint=name[-1] * 64)
            for name, (shift, scale) in steps.items()
        }
    )


def make_domains() -> ns.Comparison:
    """One checkpoint on two image sets."""
    other = make_layers(shift=1.0, scale=1.5)
    return ns.compare({"day": make_run(), "night": make_run(other, images="2" * 64)})


def make_models() -> ns.Comparison:
    """Two networks."""
    other = make_layers(("first", "second"))
    return ns.compare({"one": make_run(), "two": make_run(other, checkpoint="b" * 64)})


def make_hostile() -> ns.Comparison:
    """Image sets and layers whose names attack the page."""
    names = (HOSTILE, HOSTILE_QUOTED, "layer-../#x", "plain")
    far = make_layers(names, shift=1.0)
    return ns.compare(
        {
            HOSTILE: make_run(make_layers(names), path=f"nets/{HOSTILE}"),
            HOSTILE_QUOTED: make_run(
                far, images="2" * 64, path=f"nets/{HOSTILE}", left_out={HOSTILE_QUOTED: HOSTILE}
            ),
        }
    )
