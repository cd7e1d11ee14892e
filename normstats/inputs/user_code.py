"""Code of the user's own, named as ``file.py:name`` or ``package.module:name``; it is run."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from normstats.errors import ArchitectureError
from normstats.inputs.building import what_happened
from normstats.printable import printable

_IMPORT_IT = "Mend it, or install what it needs."


@contextmanager
def user_code(spec: str) -> Iterator[tuple[ModuleType, str]]:
    """The module of ``spec``, imported, and the name in it (empty where there is none).

    Inside the block the code sees its neighbours, and prints to stderr: stdout is for results.

    Raises:
        ArchitectureError: there is no such module, or it fails.
    """
    home, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    path = Path(home).expanduser()
    is_file = home.endswith(".py")
    with _importable(path.parent if is_file else Path.cwd()):
        yield (_import_file(path) if is_file else _import_module(home)), name


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
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
    spec = importlib.util.spec_from_file_location(f"normstats_user_code_{where[:16]}", path)
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
