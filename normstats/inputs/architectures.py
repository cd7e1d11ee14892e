"""Architectures: from ``resnet50`` or ``file.py:function`` to a network, its weights still random.

Nothing is downloaded: whatever the function's defaults say, it is asked for no pretrained weights.
"""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType

from torch import nn

from normstats.errors import ArchitectureError, did_you_mean
from normstats.inputs.building import build_with
from normstats.inputs.user_code import user_code
from normstats.inputs.zoos import timm_zoo, torchvision_zoo
from normstats.printable import first_few, printable

_FORMS = (
    "An architecture is a torchvision or timm name (resnet50, timm:convnext_atto), "
    "file.py:function or package.module:function."
)


def build_architecture(spec: str, names: Collection[str] = ()) -> nn.Module:
    """Build the network that ``spec`` names.

    Args:
        spec: ``resnet50`` (torchvision, then timm), ``torchvision:resnet50``,
            ``timm:convnext_atto``, ``file.py:function`` or ``package.module:function``.
            Of the last two, the code is run; the current directory is importable.
        names: of the weights that are to be loaded: torchvision's networks have auxiliary heads
            where these have.

    Raises:
        ArchitectureError: it cannot be found, or built without arguments.
    """
    zoo, colon, name = spec.partition(":")
    if colon and zoo == "torchvision":
        return torchvision_zoo.build(name, names)
    if colon and zoo == "timm":
        return timm_zoo.build(name)
    if colon or spec.endswith(".py"):
        return _build_from_code(spec)
    return build_architecture(zoo_architecture(spec), names)


def zoo_architecture(spec: str) -> str:
    """``torchvision:resnet50`` for ``resnet50``: which zoo has that name; torchvision before timm.

    Raises:
        ArchitectureError: neither has an architecture of that name.
    """
    zoo, colon, _ = spec.partition(":")
    if colon and zoo in ("torchvision", "timm"):
        return spec
    known = torchvision_zoo.names()
    if spec.lower() in known:
        return f"torchvision:{spec.lower()}"
    timm = timm_zoo.timm_if_installed()
    if timm is None:
        raise ArchitectureError(
            f"torchvision has no architecture {printable(spec)!r}, and timm is not installed.",
            f"{did_you_mean(spec, known) or _FORMS} "
            "For timm's architectures: pip install 'normstats[timm]'.",
        )
    if not timm.is_model(spec):
        raise ArchitectureError(
            f"Neither torchvision nor timm has an architecture {printable(spec)!r}.",
            did_you_mean(spec, {*known, *timm.list_models()}) or _FORMS,
        )
    return f"timm:{spec}"


def _build_from_code(spec: str) -> nn.Module:
    with user_code(spec) as (module, name):
        built = getattr(module, name, None)
        if isinstance(built, nn.Module):
            return built
        if not callable(built):
            raise _no_such_function(spec, name, module)
        return build_with(built, printable(spec))


def _no_such_function(spec: str, name: str, module: ModuleType) -> ArchitectureError:
    home = spec.removesuffix(f":{name}") if name else spec
    own = [
        key
        for key, value in vars(module).items()
        if callable(value)
        and not key.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    what = f"has no function {printable(name)!r}" if name else "is a file; name its function too"
    has = f"It has: {first_few(own, 12)}." if own else "It defines no functions of its own."
    example = f" Write {printable(home)}:{own[0]}, say." if own and not name else ""
    return ArchitectureError(
        f"{printable(home)} {what}.",
        " ".join(filter(None, [did_you_mean(name, own), has + example])),
    )
