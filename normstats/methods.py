"""A normalization method as a cell of the (images, channels) plane.

Every method estimates a channel's mean and variance from the values of some images and some
channels: BatchNorm from B images and one channel, LayerNorm from one image and all channels,
GroupNorm from one image and C/G channels, batch-group norm from B images and C/G channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normstats.errors import MethodError, did_you_mean

if TYPE_CHECKING:  # numpy is not needed to read a method's name
    import numpy as np
    from numpy.typing import NDArray

    from normstats.moments import LayerMoments

    Array = NDArray[np.float64]
    Statistics = Callable[[Array, Array, LayerMoments], tuple[Array, Array]]

DEFAULT_METHODS = (
    "bn@1,bn@2,bn@4,bn@8,bn@16,bn@32,bn@64,in,gn:32,gn:8,gn:16ch,ln,running"  # one a family
)

_FORMS = {
    "bn@B": "BatchNorm over B images",
    "in": "InstanceNorm",
    "ln": "LayerNorm over (C, H, W)",
    "gn:G": "GroupNorm with G groups",
    "gn:Nch": "GroupNorm with N channels a group",
    "bgn@B:G": "batch-group norm: G groups over B images",
    "running": "the statistics stored in the checkpoint",
}

_DIVIDE = "Choose a number that divides the number of channels."

_PATTERN = re.compile(
    r"(?P<family>[a-z]+)(?:@(?P<batch>[0-9]+))?(?::(?P<groups>[0-9]+)(?P<unit>ch)?)?"
)
_TAKES_BATCH = {"bn": True, "bgn": True, "in": False, "ln": False, "gn": False, "running": False}
_TAKES_GROUPS = {"bn": False, "bgn": True, "in": False, "ln": False, "gn": True, "running": False}


@dataclass(frozen=True)
class Method:
    """One way of estimating a channel's mean and variance.

    For a method of one's own override ``statistics``, or give a function to ``from_function``.

    Attributes:
        name: as written on the command line, e.g. ``"bn@8"``.
        batch: images pooled; None for a constant, which depends on no image.
        groups: groups G that the channels are split into, in index order; None where the size
            of a group is given instead, or the method is one of one's own.
        group_channels: channels a group; None where the number of groups is given, or the method
            is one of one's own.
    """

    name: str
    batch: int | None
    groups: int | None = None
    group_channels: int | None = None

    @classmethod
    def parse(cls, text: str) -> Method:
        """Read ``bn@8``, ``in``, ``ln``, ``gn:32``, ``gn:16ch``, ``bgn@4:8`` or ``running``.

        Raises:
            MethodError: the text is none of these, or a number in it is zero.
        """
        name = text.strip().lower()
        match = _PATTERN.fullmatch(name)
        family = match["family"] if match else None
        if match is None or family not in _TAKES_BATCH:
            raise _not_a_method(text)
        batch, groups, unit = match["batch"], match["groups"], match["unit"]
        if (batch is not None) != _TAKES_BATCH[family]:
            raise _not_a_method(text)
        if (groups is not None) != _TAKES_GROUPS[family]:
            raise _not_a_method(text)
        for number, what in ((batch, "batch size"), (groups, "number of groups or channels")):
            if number is not None and int(number) == 0:
                raise MethodError(f"{text!r}: the {what} must be at least 1.", _forms())
        size = int(batch) if batch else None if family == "running" else 1
        if groups is None:
            return cls(name, size, *((1, None) if family == "ln" else (None, 1)))
        if unit:
            return cls(name, size, group_channels=int(groups))
        return cls(name, size, groups=int(groups))

    @staticmethod
    def from_function(name: str, statistics: Statistics, *, batch: int) -> Method:
        """A method of one's own, from a function of a batch's per-channel moments.

        Args:
            name: for tables and figures; not that of a built-in method.
            statistics: takes what ``Method.statistics`` takes and gives what that gives.
            batch: images B that share their statistics.

        Raises:
            MethodError: the name is taken, or the batch is not a batch.
        """
        return _FromFunction(name, batch, function=statistics)

    def __post_init__(self) -> None:
        if self.has_own_statistics:
            match = _PATTERN.fullmatch(self.name)
            taken = match is not None and match["family"] in _TAKES_BATCH
            if taken or "," in self.name or not self.name.strip():
                raise MethodError(
                    f"A method of one's own cannot be called {self.name!r}.",
                    "Choose a name that reads like no built-in method, e.g. my-norm@8.",
                )
            if self.batch is None or self.batch < 1:
                raise MethodError(
                    f"{self.name}: a batch of {self.batch} images has no statistics.",
                    "Say how many images share their statistics, e.g. batch=8.",
                )

    @property
    def has_own_statistics(self) -> bool:
        """Whether this is a method of one's own: no cell of the plane, and no constant."""
        return type(self).statistics is not Method.statistics

    @property
    def is_batch_norm(self) -> bool:
        """Whether this is a point of BatchNorm's curve over batch sizes."""
        return self.batch is not None and self.group_channels == 1 and self.name.startswith("bn@")

    def statistics(self, mean: Array, variance: Array, layer: LayerMoments) -> tuple[Array, Array]:
        """The mean M and the biased variance V that each channel of a batch is normalized with.

        This is what the method *is*; analysis has closed forms of its distribution for all that
        is built in.

        Args:
            mean: spatial mean of each image and channel, ``(..., B, C)``.
            variance: biased spatial variance of each, ``(..., B, C)``.
            layer: what the layer itself says: γ, β, ε, stored statistics.

        Returns:
            M and V, ``(..., C)``; ``(C,)`` where they are the same for every batch.

        Raises:
            MethodError: the layer cannot have this method.
        """
        shape = (*mean.shape[:-2], mean.shape[-1])
        if self.batch is None:
            return stored_statistics(layer)
        groups = self.groups_in(mean.shape[-1])
        by_group = (*mean.shape[:-1], groups, -1)
        means, variances = mean.reshape(by_group), variance.reshape(by_group)
        pooled_mean = means.mean(axis=(-3, -1), keepdims=True)
        pooled_variance = (variances + (means - pooled_mean) ** 2).mean(axis=(-3, -1))
        size = mean.shape[-1] // groups
        return (
            pooled_mean.reshape(pooled_variance.shape).repeat(size, axis=-1).reshape(shape),
            pooled_variance.repeat(size, axis=-1).reshape(shape),
        )

    def groups_in(self, channels: int) -> int:
        """The number of groups in a layer of ``channels`` channels.

        Raises:
            MethodError: the layer cannot be split this way.
        """
        if self.groups is not None:
            if channels % self.groups:
                raise MethodError(
                    f"{self.groups} groups do not divide the layer's channels", _DIVIDE
                )
            return self.groups
        assert self.group_channels is not None
        if channels % self.group_channels:
            raise MethodError(
                f"groups of {self.group_channels} channels do not divide the layer's channels",
                _DIVIDE,
            )
        return channels // self.group_channels

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class _FromFunction(Method):
    """A method of one's own, given as a function."""

    function: Statistics | None = None

    def statistics(self, mean: Array, variance: Array, layer: LayerMoments) -> tuple[Array, Array]:
        assert self.function is not None
        return self.function(mean, variance, layer)


def stored_statistics(layer: LayerMoments) -> tuple[Array, Array]:
    """The mean and the biased variance stored in the checkpoint, ``(C,)`` each.

    BatchNorm normalizes with the biased variance but stores the unbiased one, n/(n − 1) times
    larger. The n of its training batches is not in the checkpoint; here n is the number of
    captured values N·H·W, so that statistics stored from exactly these images have no error.

    Raises:
        MethodError: the layer stores none.
    """
    if layer.running_mean is None or layer.running_variance is None:
        raise MethodError("no statistics are stored", "Only layers like BatchNorm store them.")
    values = layer.images * layer.positions
    mean, variance = (v.astype("float64") for v in (layer.running_mean, layer.running_variance))
    return mean, variance * ((values - 1) / values)


def parse_methods(methods: str | Iterable[str | Method]) -> list[Method]:
    """Methods from ``"bn@8,gn:32,ln"`` or from a sequence of names; each once, in their order.

    Raises:
        MethodError: a name is not a method, or there is none.
    """
    names = methods.split(",") if isinstance(methods, str) else methods
    parsed = [
        Method.parse(name) if isinstance(name, str) else name
        for name in names
        if not isinstance(name, str) or name.strip()
    ]
    if not parsed:
        raise MethodError("No method was given.", _forms())
    return list(dict.fromkeys(parsed))


def _not_a_method(text: str) -> MethodError:
    near = did_you_mean(text.strip().lower(), ["bn@8", "in", "ln", "gn:32", "bgn@4:8", "running"])
    return MethodError(f"{text!r} is not a normalization method.", f"{near} {_forms()}".strip())


def _forms() -> str:
    return "Methods are " + ", ".join(f"{form} ({what})" for form, what in _FORMS.items()) + "."
