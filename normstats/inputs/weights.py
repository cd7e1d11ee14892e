"""Loading weights into a model: each in its place, or an error that says why not.

No randomly initialised weight stays behind unnoticed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints import Checkpoint
from normstats.printable import first_few, printable

# What wrappers and training programs put before the names of the weights, the likeliest first.
PREFIXES = ("module", "_orig_mod", "model", "backbone", "encoder", "net", "network")
_PREFIX_CHAIN = re.compile(rf"(?:(?:{'|'.join(PREFIXES)})\.)+")
# Counters that analysis tools and averaging leave among the weights.
_HARMLESS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")


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
        CheckpointError: weights are missing, unexpected or of other shapes. The model is unchanged.
    """
    wanted = _tensors_of(model)
    prefix = _best_prefix(checkpoint.tensors, wanted)
    given, aside = _strip(checkpoint.tensors, prefix, wanted)
    fit = _compare(wanted, given)
    heads = _other_heads(model, fit)
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


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}


def _best_prefix(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The prefix without which most names and shapes match; none where none helps."""
    candidates = {""}
    for name in given:
        chain = _PREFIX_CHAIN.match(name)
        parts = chain[0].split(".")[:-1] if chain else []
        candidates.update("".join(f"{p}." for p in parts[: i + 1]) for i in range(len(parts)))

    def matches(prefix: str) -> tuple[int, int]:
        stripped = {n[len(prefix) :]: t for n, t in given.items() if n.startswith(prefix)}
        common = stripped.keys() & wanted.keys()
        return sum(stripped[n].shape == wanted[n].shape for n in common), len(common)

    def likelihood(prefix: str) -> list[int]:
        return [PREFIXES.index(part) for part in prefix.split(".")[:-1]]

    # max() keeps the first of equals: no prefix before a short one, a likely one before a rare one.
    ordered = sorted(candidates, key=lambda prefix: (prefix.count("."), likelihood(prefix)))
    return max(ordered, key=matches)


def _strip(
    given: Mapping[str, Tensor], prefix: str, wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without ``prefix``, and the names of those that belong to something else.

    Names without the prefix stay where the model knows them (a head beside ``backbone.``);
    the others are of another part of the training program.
    """
    stripped = {n[len(prefix) :]: t for n, t in given.items() if n.startswith(prefix)}
    aside = []
    for name, tensor in given.items():
        if name.startswith(prefix):
            continue
        if name in wanted and name not in stripped:
            stripped[name] = tensor
        elif not name.endswith(_HARMLESS):
            aside.append(name)
    return stripped, aside


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
        unexpected=tuple(n for n in given if n not in wanted and not n.endswith(_HARMLESS)),
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


def _other_heads(model: nn.Module, fit: _Fit) -> dict[str, int]:
    """The number of outputs of each head to be replaced, if heads are all that does not fit."""
    heads = {}
    for name in {key.rpartition(".")[0] for key in fit.mismatched}:
        module = model.get_submodule(name)
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or getattr(module, "groups", 1) != 1:
            return {}
        own = {key: fit.wanted[key] for key in fit.wanted if key.rpartition(".")[0] == name}
        if not own.keys() <= fit.given.keys():
            return {}
        stored = {key: fit.given[key] for key in own}
        inputs_agree = all(
            t.ndim and t.shape[1:] == own[key].shape[1:] for key, t in stored.items()
        )
        if not inputs_agree or not all(t.is_floating_point() for t in stored.values()):
            return {}
        outputs = {t.shape[0] for t in stored.values()}
        if len(outputs) != 1 or 0 in outputs:
            return {}
        heads[name] = outputs.pop()
    return {name: heads[name] for name in sorted(heads)}


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
            f"{len(aside)} tensors outside {prefix!r} belong to something else and were left "
            f"aside: {first_few(aside, 3)}."
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
        if prefix := _hidden_prefix(fit.given, fit.wanted):
            return f"The names match behind the checkpoint's prefix {printable(prefix)!r}."
        if prefix := _hidden_prefix(fit.wanted, fit.given):
            return f"The architecture's names carry the prefix {printable(prefix)!r}; these do not."
        return "They have not one name in common: the weights are of another architecture."
    if not fit.unexpected and not fit.mismatched:
        homes = {name.rpartition(".")[0] for name in fit.missing}
        if len(homes) == 1:
            return f"All but {printable(homes.pop())} is there: it was saved without that layer."
    if not fit.missing and not fit.unexpected:
        return "The names agree: this is a wider or narrower variant of the architecture."
    return (
        f"{common} of {len(fit.wanted)} names agree: perhaps another depth or variant of the "
        "architecture."
    )


def _hidden_prefix(long: Iterable[str], short: Iterable[str]) -> str | None:
    """What most names of ``long`` carry before a name of ``short``, if it is the same for most."""
    known = set(short)
    votes: Counter[str] = Counter()
    for name in long:
        parts = name.split(".")
        cuts = range(1, min(len(parts), 10))
        votes.update(".".join(parts[:i]) + "." for i in cuts if ".".join(parts[i:]) in known)
    prefix, count = votes.most_common(1)[0] if votes else ("", 0)
    return prefix if 2 * count > len(known) else None
