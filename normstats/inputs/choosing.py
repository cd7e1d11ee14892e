"""Which architecture a checkpoint file is loaded into, where the user leaves it open."""

from __future__ import annotations

from normstats.errors import ArchitectureError
from normstats.inputs.architectures import zoo_architecture
from normstats.inputs.checkpoints.reading import Checkpoint
from normstats.inputs.zoos import signatures, torchvision_zoo
from normstats.inputs.zoos.recognition import Recognition, fits, recognise
from normstats.printable import first_few, printable

_GIVE_IT = "Give it: --arch resnet50 or --arch file.py:function (arch=... in Python)."

Choice = tuple[str, tuple[str, ...]]  # the architecture, and notes on why; sentences


def choose_architecture(stored: Checkpoint) -> Choice:
    """The architecture that the file itself tells.

    Its bytes are those of torchvision's weights; else it names its architecture; else its weights
    fit exactly one of the zoos'.

    Raises:
        ArchitectureError: it tells none, or several.
    """
    if original := torchvision_zoo.weights_with_digest(stored.sha256):
        return original.arch, ()
    unknown: ArchitectureError | None = None
    if stored.arch is not None:
        try:
            # Only names of the zoos: a file must not choose which code is imported.
            spec, why = _fitting_zoo(stored.arch, stored)
        except ArchitectureError as error:
            unknown = error
        else:
            return spec, (f"The architecture {spec} is named in the checkpoint.", *why)
    recognition = recognise(stored.tensors)
    if len(recognition.exact) == 1:
        (spec,) = recognition.exact
        return spec, (
            f"The weights are those of {spec}, by their names and shapes; a variant that differs "
            "only in parts without weights would have to be named with --arch.",
        )
    if recognition.exact:
        raise _several(stored, recognition)
    raise _none(stored, recognition, unknown)


def fitting_architecture(spec: str, stored: Checkpoint) -> Choice:
    """``timm:resnet50`` or ``torchvision:resnet50`` for ``resnet50``: torchvision before timm,
    unless only timm's fits. Other forms as they are.

    Raises:
        ArchitectureError: no zoo has it.
    """
    if spec.endswith(".py") or (":" in spec and not spec.startswith(("torchvision:", "timm:"))):
        return spec, ()
    return _fitting_zoo(spec, stored)


def _fitting_zoo(name: str, stored: Checkpoint) -> Choice:
    spec = zoo_architecture(name)
    if ":" in name or not spec.startswith("torchvision:"):
        return spec, ()
    if fits(stored.tensors, signatures.torchvision(), spec.partition(":")[2]):
        return spec, ()
    timm = signatures.timm()
    if timm is None or not timm.has(name) or not fits(stored.tensors, timm, name):
        return spec, ()
    return f"timm:{name}", (f"Of torchvision's and timm's {name}, only timm's fits the weights.",)


def _several(stored: Checkpoint, recognition: Recognition) -> ArchitectureError:
    # The file's name is no proof, but tells which is likelier.
    likely = sorted(
        recognition.exact,
        key=lambda spec: (spec.partition(":")[2] not in stored.path.name, len(spec)),
    )
    return ArchitectureError(
        f"{printable(stored.path)} does not say of which architecture it is, and its weights fit "
        f"{len(likely)} alike: {first_few(likely, 12)}.",
        f"Choose the one it was trained as: --arch {likely[0]}, say (arch=... in Python).",
    )


def _none(
    stored: Checkpoint, recognition: Recognition, unknown: ArchitectureError | None
) -> ArchitectureError:
    shown = printable(stored.path)
    if unknown is None:
        said = f"{shown} holds weights, but does not say of which architecture"
    else:
        said = f"{shown} names its architecture {printable(stored.arch)!r}, which cannot be built"
    if not recognition.nearest:
        return ArchitectureError(f"{said}; the zoos have none like it.", _GIVE_IT)
    nearest = "\n".join(f"  {comparison}" for comparison in recognition.nearest)
    return ArchitectureError(
        f"{said}; the zoos have none that fits. The nearest:\n{nearest}", _GIVE_IT
    )
