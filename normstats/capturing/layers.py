"""Where a network's activations are read: finding its layers, and what each one says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from normstats.capturing.wrappers import walk
from normstats.errors import CaptureError, LayerError
from normstats.moments import FloatArray, match_layers

BATCH_NORMS = nn.modules.batchnorm._BatchNorm  # with SyncBatchNorm and the lazy ones
INSTANCE_NORMS = nn.modules.instancenorm._InstanceNorm
CONVOLUTIONS = nn.modules.conv._ConvNd

DEFAULT_EPSILON = 1e-5  # for layers that name none, such as DETR's frozen BatchNorm

NEVER_RAN = (
    "it did not run in eval mode: an auxiliary head, a branch for training only, a copy kept aside "
    "(EMA), or a module whose parts are used without calling it"
)
_PER_REGION = "it runs on regions of interest, not on whole images"

# By name, so that torchvision need not be imported.
_REGION_HEADS = "torchvision.models.detection.roi_heads.RoIHeads"

# EvoNorm2dB0, FilterResponseNormTlu2d; not Normalize.
_NAMED_NORM = re.compile(r"Norm(?![a-z])")
_LAYER_NORM = re.compile(r"(Layer|RMS|Rms)Norm(?![a-z])")


@dataclass(frozen=True)
class Layer:
    """A module at which moments are read.

    Attributes:
        name: where it stands in the network, e.g. ``"layer1.0.bn1"``.
        module: the module itself; a module that stands in several places is one layer.
        aliases: the other names of the same module.
        reason: why it cannot be captured whatever its input; empty where it can.
    """

    name: str
    module: nn.Module = field(repr=False)
    aliases: tuple[str, ...] = ()
    reason: str = ""

    @property
    def kind(self) -> str:
        """The module's class, e.g. ``"BatchNorm2d"``."""
        return _kind(self.module)

    @property
    def reads_output(self) -> bool:
        """A convolution is read at its output, a normalization layer at its input."""
        return isinstance(self.module, CONVOLUTIONS)

    @property
    def groups(self) -> int | None:
        """The number of groups of a GroupNorm layer."""
        return self.module.num_groups if isinstance(self.module, nn.GroupNorm) else None

    @property
    def over(self) -> str:
        """Which of the two things called LN a layer does; empty where it does neither."""
        over_map = getattr(self.module, "num_groups", None) == 1
        if not over_map and not (is_layer_norm_alike(self.module) and "LayerNorm" in self.kind):
            return ""
        entries = len(getattr(self.module, "normalized_shape", "C"))
        return "(C, H, W)" if over_map or entries > 1 else "C at each position"

    @property
    def width(self) -> int | None:
        """The number of channels that the module itself tells, before any input is seen."""
        for attribute in ("num_features", "num_channels", "out_channels"):
            if isinstance(count := getattr(self.module, attribute, None), int):
                return count
        return per_channel_size(self.module)


def find_layers(model: nn.Module) -> list[Layer]:
    """The normalization layers of an eager module, or, where it has none, its convolutions.

    Modules that are called a norm but are of no kind known here are found too, with a reason, as
    are those in the heads of detection models that run on regions.

    Raises:
        LayerError: there is no layer at all.
        CaptureError: the model is a traced graph that has lost its normalization layers.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, module in walk(model):
        names.setdefault(module, []).append(name)
    on_regions = {part for module in names if _runs_on_regions(module) for part in module.modules()}

    def layers(modules: Iterable[nn.Module], reason: str = "") -> list[Layer]:
        return [
            Layer(
                names[module][0],
                module,
                aliases=tuple(names[module][1:]),
                reason=_PER_REGION if module in on_regions else reason.format(_kind(module)),
            )
            for module in modules
        ]

    known = layers(module for module in names if is_norm(module))
    unknown = layers(
        (module for module in names if not is_norm(module) and _is_called_norm(module)),
        "{} is not a kind of normalization known here",
    )
    if not known:
        _refuse_graph_without_norms(model)
        known = layers(module for module in names if isinstance(module, CONVOLUTIONS))
    found = known + unknown
    if not found:
        raise LayerError(
            "This network has neither normalization layers nor convolutions.",
            "normstats reads layers that are modules, such as torch.nn.BatchNorm2d.",
        )
    return found


def select_layers(layers: Sequence[Layer], globs: str | Sequence[str] | None) -> list[Layer]:
    """The layers with a name, or an alias, that matches; all of them where ``globs`` is None.

    Raises:
        LayerError: a pattern matches none.
    """
    if globs is None:
        return list(layers)
    names = [name for layer in layers for name in (layer.name, *layer.aliases)]
    chosen = set(match_layers(names, globs))
    return [layer for layer in layers if chosen & {layer.name, *layer.aliases}]


def is_norm(module: nn.Module) -> bool:
    """Whether this is a normalization layer of a known kind, by class or by likeness."""
    return (
        isinstance(module, (BATCH_NORMS, INSTANCE_NORMS, nn.GroupNorm))
        or is_batch_norm_alike(module)
        or is_layer_norm_alike(module)
    )


def is_batch_norm_alike(module: nn.Module) -> bool:
    """Whether it stores running statistics, as FrozenBatchNorm2d and its many copies do."""
    mean, variance = (getattr(module, name, None) for name in ("running_mean", "running_var"))
    statistics = isinstance(mean, Tensor) and isinstance(variance, Tensor) and mean.ndim == 1
    return statistics and not _is_bare(module)


def is_layer_norm_alike(module: nn.Module) -> bool:
    """Whether it is a LayerNorm or RMSNorm, or called one and scaling each channel."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return True
    called = _LAYER_NORM.search(_kind(module)) is not None
    return called and per_channel_size(module) is not None


def per_channel_size(module: nn.Module) -> int | None:
    """How many channels a normalization layer holds values for; None where that is not told."""
    shape = getattr(module, "normalized_shape", None)
    if isinstance(shape, tuple) and len(shape) == 1:
        return int(shape[0])
    for attribute in ("running_mean", "weight"):
        tensor = getattr(module, attribute, None)
        if isinstance(tensor, Tensor) and tensor.ndim == 1:
            return len(tensor)
    return None


def layer_fields(layer: Layer, channels: int) -> dict[str, Any]:
    """What the layer itself says, as fields of ``LayerMoments``; arrays of shape ``(C,)``.

    A scale or shift that is not one number a channel (LayerNorm over (C, H, W)) is left None.
    """
    fields: dict[str, Any] = {"kind": layer.kind, "groups": layer.groups, "aliases": layer.aliases}
    if layer.reads_output:
        return fields

    def vector(name: str) -> FloatArray | None:
        value = getattr(layer.module, name, None)
        if not isinstance(value, Tensor) or tuple(value.shape) != (channels,):
            return None
        kept = value.detach().cpu()
        return np.array(kept if kept.dtype == torch.float64 else kept.float())

    return fields | {
        "epsilon": _epsilon(layer.module),
        "gamma": vector("weight"),
        "beta": vector("bias"),
        "running_mean": vector("running_mean"),
        "running_variance": vector("running_var"),
    }


def _kind(module: nn.Module) -> str:
    # A parametrized module has a class of its own, ParametrizedBatchNorm2d, over its usual one.
    return type(module).__mro__[1 if is_parametrized(module) else 0].__name__


def _epsilon(module: nn.Module) -> float:
    epsilon = getattr(module, "eps", DEFAULT_EPSILON)
    return float(torch.finfo(torch.float32).eps if epsilon is None else epsilon)  # RMSNorm's None


def _is_called_norm(module: nn.Module) -> bool:
    # Blocks that contain a norm are called one too (ConvNorm, PreNorm): those have parts that
    # learn. What torch.nn.utils makes (_WeightNorm) normalizes weights.
    kind = type(module)
    return (
        _NAMED_NORM.search(kind.__name__) is not None
        and not kind.__module__.startswith("torch.nn.utils")
        and not any(list(child.parameters()) for child in module.children())
        and not any(is_norm(child) for child in module.children())
    )


def _runs_on_regions(module: nn.Module) -> bool:
    # Its rows are regions even where there happen to be as many of them as images.
    return f"{type(module).__module__}.{type(module).__name__}" == _REGION_HEADS


def _is_bare(module: nn.Module) -> bool:
    return type(module) is nn.Module  # what tracing leaves of a layer: tensors, and no forward


def _refuse_graph_without_norms(model: nn.Module) -> None:
    graphs = [module for module in model.modules() if isinstance(module, fx.GraphModule)]
    functions = [
        str(getattr(node.target, "__name__", ""))
        for graph in graphs
        for node in graph.graph.nodes
        if node.op == "call_function"
    ]
    remains = [
        *(name for name in functions if "norm" in name),
        *(
            f"{name}.running_mean"
            for name, module in walk(model)
            if graphs and _is_bare(module) and hasattr(module, "running_mean")
        ),
    ]
    if remains:
        raise CaptureError(
            "The model is a traced graph whose normalization layers have lost their classes and "
            f"run no hooks; what is left is {remains[0]}.",
            "Give the eager torch.nn.Module that it was traced or exported from.",
        )
