"""Normalization done by functions, which hooks cannot see: found by tracing one forward pass.

So is a layer found whose ``forward`` is called directly, or whose weights are given to a function,
past its hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from normstats.capturing.layers import Layer
from normstats.capturing.wrappers import walk

_FUNCTIONS = frozenset(
    {
        "batch_norm",
        "cudnn_batch_norm",
        "group_norm",
        "instance_norm",
        "layer_norm",
        "local_response_norm",
        "native_batch_norm",
        "native_group_norm",
        "native_layer_norm",
        "rms_norm",
    }
)


@dataclass(frozen=True)
class FunctionalNorm:
    """A normalization function that a module calls in its own forward.

    Attributes:
        name: the module that called it and the function, e.g. ``"layer1.0.F.batch_norm"``.
        function: e.g. ``"F.batch_norm"``.
        input_shape: of what was normalized.
        of_weights: whether that is the module's own weight (weight standardization).
        layer: the normalization layer whose scale, shift or statistics it was called with; empty
            where they are of none.
    """

    name: str
    function: str
    input_shape: tuple[int, ...]
    of_weights: bool
    layer: str = ""

    @property
    def reason(self) -> str:
        """Why it is not captured."""
        if self.of_weights:
            return "weight standardization: it normalizes the layer's weights, not activations"
        if self.layer:
            return (
                f"{self.function} is called with its weights, but the module itself is not called "
                "(its forward is, or the function), so that no hook runs"
            )
        return f"{self.function} is called as a function, not as a module, so no hook can see it"


@contextmanager
def functional_norms(
    model: nn.Module, layers: Sequence[Layer]
) -> Iterator[Mapping[str, FunctionalNorm]]:
    """The functional norms called inside the block, by name; it fills as the model runs.

    Calls from inside the normalization layers among ``layers`` are theirs, and not listed. Calls
    with the weights of such a layer from elsewhere stand under the layer's name.
    """
    names: dict[nn.Module, str] = {}
    for name, module in walk(model):
        names.setdefault(module, name)
    running: list[nn.Module] = []
    known = {layer.module for layer in layers if not layer.reads_output}
    owners = {
        id(tensor): layer.name
        for layer in layers
        if layer.module in known
        for tensor in chain(
            layer.module.parameters(recurse=False), layer.module.buffers(recurse=False)
        )
    }
    found: dict[str, FunctionalNorm] = {}

    def called(function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if any(module in known for module in running):
            return
        values = args[0] if args else kwargs.get("input")
        if not isinstance(values, Tensor):
            return
        owner = running[-1] if running else model
        sizes = {weight.numel() for weight in owner.parameters(recurse=False)}
        name = f"{names[owner]}.{function}" if names[owner] else function
        of_weights = values.numel() in sizes
        parts = (owners[id(part)] for part in (*args, *kwargs.values()) if id(part) in owners)
        layer = "" if of_weights else next(parts, "")
        norm = FunctionalNorm(name, function, tuple(values.shape), of_weights, layer)
        found.setdefault(layer or name, norm)

    def leave(*_: Any) -> None:
        running.pop()

    with ExitStack() as stack:
        for module in names:
            stack.enter_context(module.register_forward_pre_hook(lambda m, _: running.append(m)))
            stack.enter_context(module.register_forward_hook(leave, always_call=True))
        stack.enter_context(_Watch(called))
        yield found


class _Watch(TorchFunctionMode):
    def __init__(self, called: Callable[[str, tuple[Any, ...], Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._called = called

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "").split(".")[0]  # batch_norm.default is ATen's name
        if name in _FUNCTIONS:
            self._called(f"F.{name}", args, kwargs or {})
        return func(*args, **(kwargs or {}))
