"""Files that ``torch.save`` wrote, loaded without running anything that they ask for.

``torch.load`` runs with ``weights_only=True``, always; there is no switch that unpickles. What the
pickle asks for is looked at before: ``weights_only`` keeps code from running, but grants
``bytearray(10**12)`` and tensors that claim more than their storage holds.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.archives import pickle_and_sizes
from normstats.inputs.checkpoints.hints import COPY_AGAIN, SAVE_WEIGHTS
from normstats.inputs.checkpoints.inert import stand_ins, unwelcome
from normstats.inputs.checkpoints.limits import check_limits
from normstats.inputs.checkpoints.pickles import Asked, PickleRefusedError, follow
from normstats.printable import printable

_UNUSUAL = {
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_wrapper_subclass": "tensors of a class of their own",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of another kind of device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensors of another kind of device",
}


def load_torch(path: Path) -> Any:
    """What ``torch.save`` was given, its tensors on the CPU, other objects as ``Inert`` stand-ins.

    Tensors of zip archives are views of the file, which must stay as it is while they are used.

    Raises:
        CheckpointError: the file is cut off or damaged, asks for code, or for absurd sizes.
    """
    shown = printable(path)
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        inert = stand_ins(_ask_zip(path) if zipped else _ask_legacy(path))
    except PickleRefusedError as error:
        raise CheckpointError(f"{shown} was refused: {printable(error)}.", SAVE_WEIGHTS) from error
    except CheckpointError:
        raise
    except Exception as error:  # damaged pickles fail in many ways
        raise _damaged(shown, error) from error
    # torch.load takes a name that ends so for another format, whatever the content.
    mapped = zipped and path.suffix != ".safetensors"
    try:
        with (
            warnings.catch_warnings(),
            path.open("rb") as file,
            torch.serialization.safe_globals([*inert]),
        ):
            warnings.simplefilter("ignore")
            return torch.load(
                path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped
            )
    except UnpicklingError as error:
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise CheckpointError(
            f"{shown} was refused by torch.load: {printable(reason[:200])}.", SAVE_WEIGHTS
        ) from error
    except Exception as error:  # torch fails on damaged files in a dozen ways, bare KeyErrors too
        raise _damaged(shown, error) from error


def _ask_zip(path: Path) -> Asked:
    pickled, sizes = pickle_and_sizes(path)
    asked = follow(pickled)
    _refuse_code(asked, path)
    check_limits(asked, sizes)
    return asked


def _ask_legacy(path: Path) -> Asked:
    """Of the format before zip archives: five pickles, then the storages one after the other."""
    with path.open("rb") as file:
        magic, protocol, system, content, keys = (follow(file) for _ in range(5))
        for other in (magic, protocol, system, keys):
            if other.names:
                raise PickleRefusedError("its first pickles are not those of torch.save")
        _refuse_code(content, path)
        held = path.stat().st_size - file.tell()
    needed = check_limits(content, None)
    if needed > held:
        raise EOFError(f"its storages should be {needed:,} bytes, it has {held:,}")
    return content


def _refuse_code(asked: Asked, path: Path) -> None:
    for name in sorted(asked.names & _UNUSUAL.keys()):
        raise CheckpointError(
            f"{printable(path)} holds {_UNUSUAL[name]}, which cannot be analyzed.",
            "Save the plain weights of the network: in floating point, dense and on the CPU.",
        )
    wanted = unwelcome(asked)
    if wanted is not None:
        raise CheckpointError(
            f"{printable(path)} holds more than weights: it asks for {printable(wanted)}. Loading "
            "it would run code of the file's choosing, so it was refused.",
            SAVE_WEIGHTS,
        )


def _damaged(shown: str, error: Exception) -> CheckpointError:
    reason = printable(str(error).strip().partition("\n")[0][:200])
    return CheckpointError(
        f"{shown} is cut off or damaged ({type(error).__name__}{': ' if reason else ''}{reason}).",
        COPY_AGAIN,
    )
