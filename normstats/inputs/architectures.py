"""Architectures: from ``resnet50`` or ``file.py:function`` to a network, its weights still random.

Nothing is downloaded: whatever the function's defaults say, it is asked for no pretrained weights.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from normstats.errors import ArchitectureError, did_you_mean
from normstats.printable import first_few, printable

_FORMS = (
    "An architecture is a torchvision or timm name (resnet50, timm:convnext_atto), "
    "file.py:function or package.module:function."
)
# What torchvision, timm, segmentation_models_pytorch and their like call the weights they fetch.
_IMPORT_IT = "Mend it, or install what it needs."

_NO_WEIGHTS = {
    "weights": None,
    "weights_backbone": None,
    "encoder_weights": None,
    "pretrained": False,
    "pretrained_backbone": False,
}


def build_architecture(spec: str) -> nn.Module:
    """Build the network that ``spec`` names.

    Args:
        spec: ``resnet50`` (torchvision, then timm), ``torchvision:resnet50``,
            ``timm:convnext_atto``, ``file.py:function`` or ``package.module:function``.
            Of the last two, the code is run; the current directory is importable.

    Raises:
        ArchitectureError: it cannot be found, or built without arguments.
    """
    zoo, colon, name = spec.partition(":")
    if colon and zoo == "torchvision":
        return _build_torchvision(name)
    if colon and zoo == "timm":
        return _build_timm(name)
    if colon or spec.endswith(".py"):
        return _build_from_code(spec)
    return build_zoo_architecture(spec)


def build_zoo_architecture(name: str) -> nn.Module:
    """Build the torchvision or else the timm architecture of that bare name; runs no other code.

    Raises:
        ArchitectureError: neither has an architecture of that name.
    """
    known = _torchvision_names()
    if name.lower() in known:
        return _build_torchvision(name)
    timm = _timm()
    if timm is None:
        raise ArchitectureError(
            f"torchvision has no architecture {printable(name)!r}, and timm is not installed.",
            f"{did_you_mean(name, known) or _FORMS} "
            "For timm's architectures: pip install 'normstats[timm]'.",
        )
    if not timm.is_model(name):
        raise ArchitectureError(
            f"Neither torchvision nor timm has an architecture {printable(name)!r}.",
            did_you_mean(name, {*known, *timm.list_models()}) or _FORMS,
        )
    return _build_timm(name)


def build_with(builder: Callable[..., Any], shown: str) -> nn.Module:
    """The network that ``builder()`` returns; asked for no pretrained weights.

    Args:
        builder: a function or class that needs no arguments.
        shown: what to call it in messages.

    Raises:
        ArchitectureError: it needs arguments, fails, or returns something else.
    """
    arguments = _arguments(builder, shown)
    try:
        model = builder(**arguments)
    except (Exception, SystemExit) as error:
        raise ArchitectureError(
            f"{shown} failed: {_what_happened(error)}.", "Mend the function, or give another."
        ) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"{shown} returned a {type(model).__name__}, not a torch.nn.Module.",
            "Give a function that returns the network.",
        )
    return model


def _arguments(builder: Callable[..., Any], shown: str) -> dict[str, Any]:
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # some builtins have none
        return {}
    arguments = {name: _NO_WEIGHTS[name] for name in signature.parameters if name in _NO_WEIGHTS}
    needed = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in arguments
    ]
    if needed:
        raise ArchitectureError(
            f"{shown} needs arguments: {first_few(needed)}.",
            "Write a function without arguments that calls it with them, and give that.",
        )
    return arguments


def _torchvision_names() -> list[str]:
    from torchvision import models

    return list(models.list_models())


def _build_torchvision(name: str) -> nn.Module:
    from torchvision import models

    known = _torchvision_names()
    if name.lower() not in known:
        raise ArchitectureError(
            f"torchvision has no architecture {printable(name)!r}.",
            did_you_mean(name.lower(), known)
            or "torchvision.models.list_models() lists what it has.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on random weights, which will not stay
        return build_with(models.get_model_builder(name), f"torchvision:{name}")


def _timm() -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("timm")
    except Exception as error:  # an installation that does not suit this torch fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == "timm":
            return None
        raise ArchitectureError(
            f"timm is installed, but cannot be imported: {_what_happened(error)}.",
            "Reinstall it: pip install --upgrade timm",
        ) from error


def _build_timm(name: str) -> nn.Module:
    timm = _timm()
    if timm is None:
        raise ArchitectureError(
            f"timm:{printable(name)} needs timm, which is not installed.",
            "pip install 'normstats[timm]'",
        )
    if not timm.is_model(name):
        raise ArchitectureError(
            f"timm has no architecture {printable(name)!r}.",
            did_you_mean(name, timm.list_models()) or "timm.list_models() lists what it has.",
        )

    def build() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timm.create_model(name, pretrained=False)

    return build_with(build, f"timm:{name}")


def _build_from_code(spec: str) -> nn.Module:
    home, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    path = Path(home).expanduser()
    is_file = home.endswith(".py")
    with _importable(path.parent if is_file else Path.cwd()):
        module = _import_file(path) if is_file else _import_module(home)
        built = getattr(module, name, None)
        if isinstance(built, nn.Module):
            return built
        if not callable(built):
            raise _no_such_function(home, name, module)
        return build_with(built, printable(spec))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The user's code sees its neighbours, and prints to stderr: stdout is for results."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _import_file(path: Path) -> ModuleType:
    shown = printable(path)
    if not path.is_file():
        raise ArchitectureError(
            f"There is no file {shown}.", f"Paths are taken from {printable(Path.cwd())}."
        )
    # A name of its own for each path; classes in the file look their module up under it.
    where = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    spec = importlib.util.spec_from_file_location(f"normstats_architecture_{where[:16]}", path)
    if spec is None or spec.loader is None:
        raise ArchitectureError(f"{shown} cannot be imported.", "Give a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise ArchitectureError(
            f"{shown} failed while it was imported: {_what_happened(error)}.", _IMPORT_IT
        ) from error
    return module


def _import_module(name: str) -> ModuleType:
    shown = printable(name)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name and f"{name}.".startswith(f"{error.name}.")):
            raise ArchitectureError(
                f"{shown} failed while it was imported: {_what_happened(error)}.", _IMPORT_IT
            ) from error
        missing = printable(error.name)
        raise ArchitectureError(
            f"There is no module {missing} to import.",
            f"Give {missing}.py:function for a file; modules are searched for in "
            f"{printable(Path.cwd())} and among the installed packages.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ArchitectureError(
            f"{shown} failed while it was imported: {_what_happened(error)}.", _IMPORT_IT
        ) from error


def _no_such_function(home: str, name: str, module: ModuleType) -> ArchitectureError:
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


def _what_happened(error: BaseException) -> str:
    """The error, and the line it came from."""
    told = f"{type(error).__name__}: {printable(error)}".removesuffix(": ").removesuffix(".")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:  # a syntax error names its line itself
        return told
    return f"{told} ({printable(Path(frames[-1].filename).name)}, line {frames[-1].lineno})"
