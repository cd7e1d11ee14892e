"""Loading weights into a model: each in its place, or an error that says why not.

No randomly initialised weight stays behind unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.matching import (
    best_prefix,
    is_harmless,
    other_heads,
    shapes,
    stripped,
)
from normstats.inputs.checkpoints.reading import Checkpoint
from normstats.printable import first_few, printable


@dataclass(frozen=True)
class _Fit:
    """How a checkpoint's tensors meet a model's."""

    wanted: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def load_into(model: nn.Module, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Load the weights into ``model``, in place, and return notes for the user; sentences.

    Wrappers' prefixes are stripped where that makes more names match. A head (linear layer or
    convolution) with another number of outputs is replaced by the checkpoint's. Weights of other
    floating-point types are converted to the model's.

    Raises:
        CheckpointError: weights are missing, unexpected or of other shapes, or the model has no
            place for them. The model is unchanged.
    """
    _check_places(model)
    wanted = _tensors_of(model)
    prefix = best_prefix(shapes(checkpoint.tensors), shapes(wanted))
    given, aside = stripped(checkpoint.tensors, prefix, wanted)
    fit = _compare(wanted, given)
    heads = _replaceable_heads(model, fit)
    if fit.missing or fit.unexpected or (fit.mismatched and not heads):
        raise _misfit(fit, checkpoint)

    notes = list(_notes(fit, prefix, aside))
    for name, outputs in heads.items():
        before = _resize_outputs(model.get_submodule(name), outputs)
        notes.append(
            f"The head {printable(name)} has {outputs} outputs in the checkpoint and {before} in "
            "the architecture; the checkpoint's was taken."
        )
    # The model's own dictionary carries the version of each module's format. What it holds beyond
    # the checkpoint's (counters, second names of tied weights) loads onto itself.
    state = model.state_dict()
    fitting = {
        name: given[name]
        for name in wanted
        if name in given and given[name].shape == state[name].shape
    }
    state.update(fitting)
    model.load_state_dict(state)
    return tuple(notes)


def _check_places(model: nn.Module) -> None:
    """Weights need a place of a known shape.

    Raises:
        CheckpointError: a module is lazy, or without memory.
    """
    for name, module in model.named_modules():
        what = f"{printable(name)!r} ({type(module).__name__})" if name else "The network"
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(is_lazy(tensor) for tensor in own):
            raise CheckpointError(
                f"{what} is lazy: the sizes of its weights come with its first batch.",
                "Have the architecture run the network once before it returns it.",
            )
        if any(tensor.is_meta for tensor in own):
            raise CheckpointError(
                f"{what} is on the meta device: it has shapes but no weights.",
                "Have the architecture build it on the CPU.",
            )


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> _Fit:
    # Tied weights may be stored once, under one of their names.
    filled = {_place(wanted[name]) for name in wanted.keys() & given.keys()}
    return _Fit(
        wanted,
        given,
        missing=tuple(
            name
            for name, tensor in wanted.items()
            if name not in given
            and not name.endswith("num_batches_tracked")
            and _place(tensor) not in filled
        ),
        unexpected=tuple(n for n in given if n not in wanted and not is_harmless(n)),
        mismatched=tuple(
            name
            for name, tensor in wanted.items()
            if name in given
            and not name.endswith("num_batches_tracked")
            and (
                given[name].shape != tensor.shape
                or given[name].is_floating_point() != tensor.is_floating_point()
            )
        ),
    )


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape)


def _replaceable_heads(model: nn.Module, fit: _Fit) -> dict[str, int]:
    """The number of outputs of each head to be replaced, if heads are all that does not fit."""
    if any(not fit.given[name].is_floating_point() for name in fit.mismatched):
        return {}
    heads = other_heads(shapes(fit.given), shapes(fit.wanted))
    for name in heads:
        module = model.get_submodule(name)
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or getattr(module, "groups", 1) != 1:
            return {}
    return heads


def _resize_outputs(head: nn.Module, outputs: int) -> int:
    """Give a head room for ``outputs`` outputs; returns how many it had."""
    for name, parameter in list(head.named_parameters(recurse=False)):
        setattr(head, name, nn.Parameter(parameter.new_empty((outputs, *parameter.shape[1:]))))
    counted = "out_features" if isinstance(head, nn.Linear) else "out_channels"
    before = int(getattr(head, counted))
    setattr(head, counted, outputs)
    return before


def _notes(fit: _Fit, prefix: str, aside: list[str]) -> Iterable[str]:
    if prefix:
        yield f"The prefix {prefix!r} was removed from the names of the checkpoint's weights."
    if aside:
        yield (
            f"What stands outside {prefix!r} belongs to something else and was left aside: "
            f"{first_few(aside, 3)}."
        )
    converted = Counter(
        (str(fit.given[n].dtype), str(wanted.dtype))
        for n, wanted in fit.wanted.items()
        if n in fit.given and wanted.is_floating_point() and fit.given[n].dtype != wanted.dtype
    )
    for (stored, loaded), count in converted.items():
        yield (
            f"{count} tensors are stored as {stored.removeprefix('torch.')} and were loaded as "
            f"{loaded.removeprefix('torch.')}."
        )


def _misfit(fit: _Fit, checkpoint: Checkpoint) -> CheckpointError:
    def listed(names: Iterable[str], tensors: Mapping[str, Tensor]) -> str:
        return first_few(f"{name} {_shape(tensors[name])}" for name in names)

    lines = [
        f"{printable(checkpoint.path)} does not fit the architecture: {len(fit.missing)} weights "
        f"missing, {len(fit.unexpected)} unexpected, {len(fit.mismatched)} of another shape."
    ]
    if fit.missing:
        lines.append(f"  missing: {listed(fit.missing, fit.wanted)}")
    if fit.unexpected:
        lines.append(f"  unexpected: {listed(fit.unexpected, fit.given)}")
    if fit.mismatched:
        differing = (
            f"{name} is {_shape(fit.given[name])}, the architecture has {_shape(fit.wanted[name])}"
            for name in fit.mismatched
        )
        lines.append("  another shape: " + first_few(differing, 3))
    return CheckpointError(
        "\n".join([*lines, _guess(fit)]),
        "Give the architecture that these weights were trained with.",
    )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape)) + ("" if tensor.is_floating_point() else f" {_dtype(tensor)}")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _guess(fit: _Fit) -> str:
    """Why they do not fit, in a sentence."""
    common = len(fit.wanted.keys() & fit.given.keys())
    if not common:
        if found := _hidden_prefixes(fit.given, fit.wanted):
            return (
                f"The names match behind each of the prefixes {first_few(found)}: save the weights "
                "behind one of them."
            )
        if found := _hidden_prefixes(fit.wanted, fit.given):
            return f"The architecture's names carry the prefix {found[0]!r}; these do not."
        return "They have not one name in common: the weights are of another architecture."
    if not fit.unexpected and not fit.mismatched:
        homes = {name.rpartition(".")[0] for name in fit.missing}
        if len(homes) == 1:
            return f"All but {printable(homes.pop())} is there: it was saved without that layer."
    if any(not fit.given[n].is_floating_point() for n in fit.mismatched):
        return "Weights that should be fractions are whole numbers: they seem to be quantized."
    if not fit.missing and not fit.unexpected:
        return "The names agree: this is a wider or narrower variant of the architecture."
    return (
        f"{common} of {len(fit.wanted)} names agree: perhaps another depth or variant of the "
        "architecture."
    )


def _hidden_prefixes(long: Iterable[str], short: Iterable[str]) -> list[str]:
    """What stands before most names of ``short`` among those of ``long``."""
    known = set(short)
    votes: Counter[str] = Counter()
    for name in long:
        parts = name.split(".")
        cuts = range(1, min(len(parts), 10))
        votes.update(".".join(parts[:i]) + "." for i in cuts if ".".join(parts[i:]) in known)
    return [printable(prefix) for prefix, count in votes.items() if 2 * count > len(known)]
