"""Capturing: images through the network once, moments out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from normstats.capturing.batches import Labels, read_batches
from normstats.capturing.calling import Images, placed_images
from normstats.capturing.devices import model_device, model_dtype, placed
from normstats.capturing.functional import FunctionalNorm, functional_norms
from normstats.capturing.hooks import forward, observed
from normstats.capturing.layers import find_layers, select_layers
from normstats.capturing.recorder import Recorder
from normstats.capturing.wrappers import eager_module
from normstats.errors import CaptureError
from normstats.moments import Moments
from normstats.moments_folder import too_few


def capture(
    model: nn.Module,
    images: Iterable[Any],
    *,
    layers: str | Sequence[str] | None = None,
    device: str | torch.device | None = None,
    channel_dim: int | None = None,
    amp: bool = False,
    progress: Callable[[int], None] | None = None,
    classes: Sequence[str] = (),
) -> Moments:
    """The moments of the input of every normalization layer, for each image and channel.

    Where a network has no such layer, of the output of its convolutions. The network runs in eval
    mode and is left as it was: modes, buffers, hooks and device. Memory grows only with the
    moments, 2 x N x C numbers a layer.

    Args:
        model: the network; DataParallel, DistributedDataParallel and ``torch.compile`` wrappers
            are taken off.
        images: any iterable of tensors ``(N, C, H, W)``, for video ``(N, C, T, H, W)``, or of
            pairs of such a tensor and class indices ``(N,)``. They are brought to the model's
            device and precision. torchvision's detection models are given a list of the images,
            in [0, 1], as they normalize and resize them themselves; for them a pair may hold a
            list of images ``(C, H, W)`` of several sizes. They pad every image of a batch with
            zeros to the largest, and that to a multiple of 32, and these zeros are in the
            moments: with batches of one image they are fewest.
        layers: patterns of layer names to keep, e.g. ``"layer3.*"``. A module that is called
            twice in a forward pass gives ``name`` and ``name#2``; its name selects both.
        device: run it there; None or ``"auto"`` where the model is.
        channel_dim: the channels' axis for layers whose class does not settle it, such as
            LayerNorm on tokens (-1).
        amp: run under autocast, in mixed precision.
        progress: called after each batch with the number of images done so far.
        classes: the name of each class index.

    Raises:
        CaptureError: the batches are of a wrong kind, the model failed or cannot be observed,
            there are fewer than two images, or no layer could be captured.
        LayerError: a pattern matches no layer, or a layer cannot be read without ambiguity.
        DeviceError: the device is not there.
    """
    capturer = Capturer(model, layers=layers, channel_dim=channel_dim, amp=amp)
    with placed(capturer.model, device):
        moments = capturer.moments(images, classes=classes, progress=progress)
    if moments.images < 2:
        raise too_few(moments.images)
    return moments


class Capturer:
    """A network that is ready to be watched. It runs where, and in the layout in which, it lies.

    Args:
        model, layers, channel_dim, amp: as in ``capture``.

    Attributes:
        model: the network without its wrappers.

    Raises:
        CaptureError: the model cannot be observed.
        LayerError: a pattern matches no layer.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: str | Sequence[str] | None = None,
        channel_dim: int | None = None,
        amp: bool = False,
    ) -> None:
        self.model = eager_module(model)
        self._every = find_layers(self.model)
        self._layers = select_layers(self._every, layers)
        self._named_only = layers is not None
        self._channel_dim = channel_dim
        self._amp = amp
        self._functions: Mapping[str, FunctionalNorm] | None = None

    def moments(
        self,
        images: Iterable[Any],
        *,
        classes: Sequence[str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Moments:
        """The moments of these images, be they none.

        Args:
            images, classes, progress: as in ``capture``.

        Raises:
            CaptureError, LayerError: as ``capture``.
        """
        recorder = Recorder(self._layers, self._channel_dim)
        target, dtype = model_device(self.model), model_dtype(self.model)
        labels: list[Labels | None] = []
        done = 0
        for batch, batch_labels in read_batches(images, classes):
            self._run(placed_images(self.model, batch, target, dtype), recorder)
            labels.append(batch_labels)
            done += len(batch)
            if progress is not None:
                progress(done)
        captured = recorder.finish() if done else {}
        if done and not captured:
            raise _nothing_captured(recorder)
        return Moments(
            layers=captured,
            labels=_joined(labels),
            classes=tuple(classes),
            left_out=recorder.left_out,
        )

    def _run(self, images: Images, recorder: Recorder) -> None:
        """One batch; with the first one, norms that are functions are looked for too.

        Hooks and eval mode last for this forward pass only, so that whatever else the caller runs
        between two batches finds the model as it was.
        """
        first = self._functions is None
        with ExitStack() as stack:
            if first:
                self._functions = stack.enter_context(functional_norms(self.model, self._every))
            stack.enter_context(observed(self.model, recorder.layers, recorder.read))
            recorder.begin_batch(len(images))
            forward(self.model, images, amp=self._amp)
        recorder.end_batch()
        recorder.leave_out_functions(self._functions or {}, named_only=self._named_only)
        if not recorder.records:
            raise _nothing_captured(recorder)


def _joined(labels: Sequence[Labels | None]) -> Labels | None:
    given = [part for part in labels if part is not None]
    return np.concatenate(given) if given and len(given) == len(labels) else None


def _nothing_captured(recorder: Recorder) -> CaptureError:
    silent = [layer for layer in recorder.layers if layer.name not in recorder.left_out]
    if silent and not recorder.fired:
        return CaptureError(
            f"No layer ran when the model was called; there are {len(silent)} to look at.",
            "Hooks run only where a module is called: not where its forward is, nor in compiled, "
            "scripted and traced models. Give the eager module that it was made from.",
        )
    reasons = recorder.left_out
    name, reason = next(iter(reasons.items()))
    others = f" The same or like for {len(reasons) - 1} others." if len(reasons) > 1 else ""
    return CaptureError(
        f"No layer could be captured. {name}: {reason}.{others}",
        "`normstats layers` lists every layer with its reason.",
    )
