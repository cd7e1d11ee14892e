"""Where the network runs: finding a device, and putting a model there for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from normstats.errors import DeviceError


def available_devices() -> list[str]:
    """The devices that are here, the preferred one first: CUDA, then MPS, then the CPU."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str | torch.device | None) -> torch.device:
    """The device called ``name``; for None or ``"auto"`` the best one that is here.

    Raises:
        DeviceError: there is no such device on this machine.
    """
    if name is None or name == "auto":
        return torch.device(available_devices()[0])
    try:
        # Only using a device shows that it is there; its index is filled in on the way.
        device = torch.empty(1, device=name).device
    except Exception as error:  # each backend raises a class of its own
        raise _not_here(name) from error
    if device.type == "meta":
        raise _not_here(name)
    return device


def _not_here(name: str | torch.device) -> DeviceError:
    return DeviceError(
        f"There is no device {str(name)!r} on this machine.",
        f"Available: {', '.join(reversed(available_devices()))}; or leave the choice to 'auto'.",
    )


def model_device(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU where it has none."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def model_dtype(model: nn.Module) -> torch.dtype:
    """The precision of the model's first floating-point parameter; float32 where it has none."""
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(floating, torch.float32)


@contextmanager
def placed(model: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    """Have the model on ``device`` inside the block, and back where it was afterwards.

    Args:
        model: the network.
        device: where to; None or ``"auto"`` leaves it where it is.

    Yields:
        the device on which the images must be.

    Raises:
        DeviceError: the device is not there, the model holds no weights, or it is spread over
            several devices and would have to be moved.
    """
    places = {tensor.device for tensor in chain(model.parameters(), model.buffers())}
    if any(place.type == "meta" for place in places):
        raise DeviceError(
            "The model is on the meta device: it has shapes but no weights.",
            "Load its weights before capturing.",
        )
    home = model_device(model)
    stays = device is None or device == "auto"
    target = home if stays else resolve_device(device)
    if stays or places <= {target}:
        yield target
        return
    if len(places) > 1:
        spread = ", ".join(sorted(map(str, places)))
        raise DeviceError(
            f"The model is spread over several devices ({spread}) and cannot be moved to {target}.",
            "Leave the device out to run it where it is.",
        )
    try:
        model.to(target)
        yield target
    finally:
        model.to(home)
