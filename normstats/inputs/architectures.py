"""Architectures: from ``resnet50`` or ``file.py:function`` to a network, its weights still random.

Nothing is downloaded: whatever the function's defaults say, it is asked for no pretrained weights.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from torch import nn

from normstats.errors import ArchitectureError, did_you_mean
from normstats.inputs.building import build_with, what_happened
from normstats.inputs.zoos import timm_zoo, torchvision_zoo
from normstats.printable import first_few, printable

_FORMS = (
    "An architecture is a torchvision or timm name (resnet50, timm:convnext_atto), "
    "file.py:function or package.module:function."
)
_IMPORT_IT = "Mend it, or install what it needs."


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
    assert spec is not None  # a .py file has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise ArchitectureError(
            f"{shown} failed while it was imported: {what_happened(error)}.", _IMPORT_IT
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
                f"{shown} failed while it was imported: {what_happened(error)}.", _IMPORT_IT
            ) from error
        missing = printable(error.name)
        raise ArchitectureError(
            f"There is no module {missing} to import.",
            f"Give {missing}.py:function for a file; modules are searched for in "
            f"{printable(Path.cwd())} and among the installed packages.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ArchitectureError(
            f"{shown} failed while it was imported: {what_happened(error)}.", _IMPORT_IT
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
