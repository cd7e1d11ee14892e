"""What a file is, by its content: a checkpoint that can be read safely, or what it is instead."""

from __future__ import annotations

import codecs
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.archives import PICKLE, members
from normstats.inputs.checkpoints.hints import COPY_AGAIN, GIVE_WEIGHTS, SAVE_WEIGHTS
from normstats.inputs.checkpoints.pickles import first_global
from normstats.printable import first_few, printable

# What torch.save wrote before it wrote zip archives: PROTO, then its magic number.
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_BEGINNING = 4096

_UNPACK = "Unpack it first."
_CONVERT = (
    "Convert the weights to PyTorch's names with the library that wrote them, as safetensors."
)
_EXPORTED_FROM = "Give the PyTorch weights it was exported from, with their architecture."

_FORMATS = (
    (0, b"\xff\xd8\xff", "a JPEG image", GIVE_WEIGHTS),
    (0, b"\x89PNG", "a PNG image", GIVE_WEIGHTS),
    (0, b"GIF8", "a GIF image", GIVE_WEIGHTS),
    (0, b"II*\0", "a TIFF image", GIVE_WEIGHTS),
    (0, b"MM\0*", "a TIFF image", GIVE_WEIGHTS),
    (0, b"%PDF", "a PDF document", GIVE_WEIGHTS),
    (0, b"RIFF", "a RIFF file (WebP, WAV or AVI)", GIVE_WEIGHTS),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (0, b"(\xb5/\xfd", "a zstd archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x89HDF", "an HDF5 file, such as Keras writes", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", GIVE_WEIGHTS),
    (0, b"GGUF", "a GGUF file of quantized weights", "Give the safetensors it was made from."),
    (4, b"TFL3", "a TensorFlow Lite model", _EXPORTED_FROM),
    (4, b"ET1", "an ExecuTorch program", _EXPORTED_FROM),
    (0, b"\x7fELF", "a program", GIVE_WEIGHTS),
)

# Of zip archives: how the name of a member ends.
_ARCHIVES = (
    (
        ("/constants.pkl", "/bytecode.pkl"),
        "a TorchScript archive: a compiled program, whose layers hooks cannot see",
        "Save the weights of the model it was made from: torch.save(model.state_dict(), "
        '"weights.pt"), and give its architecture.',
    ),
    (
        ("/archive_format", "/serialized_exported_program.json"),
        "a torch.export program: a graph whose layers have lost their classes, so that it cannot "
        "be told what feeds a normalization layer",
        'Save its weights: torch.save(torch.export.load(file).state_dict, "weights.pt"), '
        "and give the architecture it was exported from.",
    ),
    (
        ("/extern_modules",),
        "a torch.package archive: a program with its weights",
        "Save the weights alone, where it can be trusted and run.",
    ),
    ((".weights.h5",), "a Keras archive", _CONVERT),
    ((".npy",), "a NumPy archive of arrays, not a checkpoint", GIVE_WEIGHTS),
)


class FileKind(Enum):
    """What weights are read from."""

    TORCH = "a PyTorch file"
    SAFETENSORS = "a safetensors file"
    INDEX = "an index of shards"
    FOLDER = "a folder"


def file_kind(path: Path) -> FileKind:
    """How to read the checkpoint ``path``, judged by its content and never by its suffix.

    Raises:
        CheckpointError: missing, empty, cut off, or not a checkpoint that can be read safely.
    """
    shown = printable(path)
    try:
        if path.is_dir():
            return FileKind.FOLDER
        _check_is_file(path, shown)
        with path.open("rb") as file:
            return _kind(file, path.name, shown)
    except OSError as error:
        raise CheckpointError(
            f"{shown} cannot be read: {error.strerror}.", "Check that you may read it."
        ) from error


def _check_is_file(path: Path, shown: str) -> None:
    if not path.exists():
        if path.is_symlink():
            raise CheckpointError(
                f"{shown} is a link that leads nowhere, or in a circle.", "Give the file itself."
            )
        raise CheckpointError(
            f"There is no file {shown}.", f"Paths are taken from {printable(Path.cwd())}."
        )
    if not path.is_file():
        raise CheckpointError(f"{shown} is a device or a pipe, not a file.", GIVE_WEIGHTS)


def _kind(file: BinaryIO, name: str, shown: str) -> FileKind:
    head = file.read(_BEGINNING)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{shown} is empty.", COPY_AGAIN)
    # First, since the length of a header may begin as any other format does.
    if head[8:9] == b"{" and head[4:8] == bytes(4):
        return FileKind.SAFETENSORS
    if head.startswith(b"PK"):
        _check_archive(file, shown)
        return FileKind.TORCH
    if head[:1] == b"\x80":
        _check_pickle(file, head, shown)
        return FileKind.TORCH
    text = _as_text(head)
    if text is not None:
        if text.lstrip().startswith("{") and ("weight_map" in text or name.endswith("index.json")):
            return FileKind.INDEX
        raise CheckpointError(*_what_text(text, shown))
    if head[8:9] == b"{":
        return FileKind.SAFETENSORS
    raise CheckpointError(*_what_binary(head, shown))


def _check_archive(file: BinaryIO, shown: str) -> None:
    names = [member.filename for member in members(file, shown)]
    for ends, what, hint in _ARCHIVES:
        if any(f"/{name}".endswith(ends) for name in names):
            raise CheckpointError(f"{shown} is {what}.", hint)
    if not any(name.endswith(PICKLE) for name in names):
        raise CheckpointError(
            f"{shown} is a zip archive, but not one that torch.save wrote; "
            f"it holds {first_few(names) or 'nothing'}.",
            GIVE_WEIGHTS,
        )


def _check_pickle(file: BinaryIO, head: bytes, shown: str) -> None:
    start = head[2 : 2 + len(_LEGACY_MAGIC)]
    if start == _LEGACY_MAGIC:
        return
    if _LEGACY_MAGIC.startswith(start):
        raise CheckpointError(f"{shown} is cut off after {len(head)} bytes.", COPY_AGAIN)
    named = first_global(file)
    wants = f"; it asks to run {printable(named)}" if named else ""
    raise CheckpointError(
        f"{shown} is a Python pickle that torch.save did not write{wants}. "
        "It was not loaded, since loading a pickle runs whatever it names.",
        SAVE_WEIGHTS,
    )


def _as_text(head: bytes) -> str | None:
    """The beginning of a text file, or None where the bytes are not text."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text) else None


def _what_text(text: str, shown: str) -> tuple[str, str]:
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith("version https://git-lfs"):
        return (
            f"{shown} is a Git LFS pointer, a few lines that stand for the checkpoint.",
            "Fetch the file itself with `git lfs pull`.",
        )
    if start.startswith(("<!doctype html", "<html", "<?xml", "<head")):
        return (
            f"{shown} is a web page, not a checkpoint: the download was answered with a page.",
            "Open the link in a browser and download the file itself.",
        )
    return f"{shown} is a text file, not a checkpoint.", GIVE_WEIGHTS


def _what_binary(head: bytes, shown: str) -> tuple[str, str]:
    if _is_onnx(head):
        return f"{shown} is an ONNX model: a graph, without the layers hooks need.", _EXPORTED_FROM
    for start, magic, what, hint in _FORMATS:
        if head[start : start + len(magic)] == magic:
            return f"{shown} is {what}, not a checkpoint.", hint
    return (
        f"{shown} is not a checkpoint: its first bytes ({head[:4].hex(' ')}) belong to no format "
        "that weights are read from.",
        GIVE_WEIGHTS,
    )


def _is_onnx(head: bytes) -> bool:
    """A protobuf: field 1 (IR version, a small number), then the producer's name, or the graph."""
    if len(head) < 8 or head[0] != 8 or not 0 < head[1] < 32:
        return False
    producer = head[4 : 4 + head[3]] if head[2:3] == b"\x12" else b""
    return head[2:3] == b"\x3a" or (bool(producer) and producer.isascii() and producer[0] >= 0x20)
