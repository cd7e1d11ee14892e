"""Moments made another way: activations by walking a traced graph, then numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def numpy_moments(x: Tensor | NDArray[Any], axis: int = 1) -> Pair:
    values = np.asarray(x.detach() if isinstance(x, Tensor) else x, dtype=np.float64)
    values = np.moveaxis(values, axis, 1)
    values = values.reshape(*values.shape[:2], -1)
    mean = values.mean(axis=2, keepdims=True)
    return mean[..., 0], ((values - mean) ** 2).mean(axis=2)


class _Recorder(fx.Interpreter):
    """Runs a graph node by node and keeps what each module was called with; no hooks."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.inputs: dict[str, list[Tensor]] = {}

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        self.inputs.setdefault(target, []).append(args[0].clone())
        return super().call_module(target, args, kwargs)


class _Tracer(fx.Tracer):
    """Keeps whatever is called a norm whole, where ``symbolic_trace`` would look inside."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        kind = type(module).__name__
        named = "Norm" in kind and "Activation" not in kind
        return named or super().is_leaf_module(module, name)


def traced_inputs(model: nn.Module, images: Tensor) -> dict[str, list[Tensor]]:
    """What every module of a traceable model is called with in eval mode, call by call."""
    model = model.eval()
    recorder = _Recorder(fx.GraphModule(model, _Tracer().trace(model)))
    with torch.no_grad():
        recorder.run(images)
    return recorder.inputs


def randomized(model: nn.Module) -> nn.Module:
    """Norm parameters and running statistics as if trained, so that nothing is 0 or 1 by luck."""
    for module in model.modules():
        for name in ("running_mean", "running_var"):
            if isinstance(tensor := getattr(module, name, None), Tensor):
                tensor.uniform_(0.5, 1.5)
        for name in ("weight", "bias"):
            tensor = getattr(module, name, None)
            if isinstance(tensor, Tensor) and tensor.ndim == 1:
                tensor.data.uniform_(0.5, 1.5)
    return model
