"""What a file is, by its content: a checkpoint that can be read safely, or what it is instead."""

from __future__ import annotations

import codecs
import pickletools
import struct
import zipfile
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from normstats.errors import CheckpointError
from normstats.printable import first_few, printable

_GIVE_WEIGHTS = "Give a PyTorch file written by torch.save, or a safetensors file."
COPY_AGAIN = "Copy or download it again, and compare its size with the original's."
SAVE_WEIGHTS = (
    "Where the file was written, save the weights alone: torch.save(model.state_dict(), "
    '"weights.pt"), or as safetensors. Nothing here unpickles code, whatever the options.'
)

# What torch.save wrote before it wrote zip archives: PROTO, then its magic number.
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
# safetensors itself allows no longer header.
_LONGEST_HEADER = 100_000_000

_FORMATS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF", "a PDF document"),
    (b"RIFF", "a RIFF file (WebP, WAV or AVI)"),
    (b"\x1f\x8b", "a gzip archive, to be unpacked first"),
    (b"BZh", "a bzip2 archive, to be unpacked first"),
    (b"\xfd7zXZ", "an xz archive, to be unpacked first"),
    (b"7z\xbc\xaf", "a 7-Zip archive, to be unpacked first"),
    (b"(\xb5/\xfd", "a zstd archive, to be unpacked first"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program"),
)


class FileKind(Enum):
    """The formats that weights are read from."""

    TORCH = "torch"
    SAFETENSORS = "safetensors"


def recognise(path: Path) -> FileKind:
    """How to read the checkpoint ``path``, judged by its content and never by its suffix.

    Raises:
        CheckpointError: missing, empty, cut off, or not a checkpoint that can be read safely.
    """
    shown = printable(path)
    if path.is_dir():
        raise CheckpointError(f"{shown} is a folder.", "Give the checkpoint file inside it.")
    if not path.exists():
        raise CheckpointError(
            f"There is no file {shown}.", f"Paths are taken from {printable(Path.cwd())}."
        )
    if not path.is_file():
        raise CheckpointError(f"{shown} is a device or a pipe, not a file.", _GIVE_WEIGHTS)
    try:
        with path.open("rb") as file:
            return _recognise(file, shown)
    except OSError as error:
        raise CheckpointError(
            f"{shown} cannot be read: {error.strerror}.", "Check that you may read it."
        ) from error


def _recognise(file: BinaryIO, shown: str) -> FileKind:
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{shown} is empty.", COPY_AGAIN)
    if head.startswith(b"PK"):
        _check_archive(file, shown)
        return FileKind.TORCH
    if head[:1] == b"\x80":
        _check_pickle(file, head, shown)
        return FileKind.TORCH
    text = _as_text(head)
    if text is not None:
        raise CheckpointError(*_what_text(text, shown))
    if head[8:9] == b"{":
        _check_safetensors_header(file, head, shown)
        return FileKind.SAFETENSORS
    raise CheckpointError(*_what_binary(head, shown))


def _check_archive(file: BinaryIO, shown: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise CheckpointError(f"{shown} is cut off or damaged: {error}.", COPY_AGAIN) from error
    names = [member.filename for member in members]
    if any("/code/" in name or name.endswith(("constants.pkl", "bytecode.pkl")) for name in names):
        raise CheckpointError(
            f"{shown} is a TorchScript archive: a compiled program, whose layers hooks cannot see.",
            "Save the weights of the model it was made from: torch.save(model.state_dict(), "
            '"weights.pt"), and give its architecture.',
        )
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        raise CheckpointError(
            f"{shown} is a torch.export program: a graph, without the layers hooks need.",
            'Save its weights: torch.save(torch.export.load(file).state_dict, "weights.pt"), '
            "and give the architecture it was exported from.",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(
            f"{shown} is a zip archive, but not one that torch.save wrote; "
            f"it holds {first_few(names) or 'nothing'}.",
            _GIVE_WEIGHTS,
        )
    # torch.save stores without compression, so an archive never unpacks to more than its size.
    size = file.seek(0, 2)
    if sum(member.file_size for member in members) > size:
        raise CheckpointError(
            f"{shown} is a compressed zip archive; torch.save writes none.", _GIVE_WEIGHTS
        )


def _check_pickle(file: BinaryIO, head: bytes, shown: str) -> None:
    start = head[2 : 2 + len(_LEGACY_MAGIC)]
    if start == _LEGACY_MAGIC:
        if not _pickles_are_whole(file):
            raise CheckpointError(f"{shown} is cut off or damaged.", COPY_AGAIN)
        return
    if _LEGACY_MAGIC.startswith(start):
        raise CheckpointError(f"{shown} is cut off after {len(head)} bytes.", COPY_AGAIN)
    named = _first_global(file)
    wants = f"; it asks to run {printable(named)}" if named else ""
    raise CheckpointError(
        f"{shown} is a Python pickle that torch.save did not write{wants}. "
        "It was not loaded, since loading a pickle runs whatever it names.",
        SAVE_WEIGHTS,
    )


def _pickles_are_whole(file: BinaryIO) -> bool:
    """Whether the pickles before the weights' values end where they should.

    torch.load takes half a name at the end of a file for a name that it does not know.
    """
    try:
        for _ in range(4):  # magic number, protocol, system, content
            for _ in pickletools.genops(file):
                pass
    except Exception:  # see _first_global
        return False
    return True


def _first_global(file: BinaryIO) -> str | None:
    """The first class or function that the pickle names; the pickle is read, not run."""
    words: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in {"GLOBAL", "INST"}:
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(words)
            if isinstance(argument, str):
                words = [*words[-1:], argument]
    except Exception:  # a damaged pickle fails in many ways, and is refused all the same
        return None
    return None


def _check_safetensors_header(file: BinaryIO, head: bytes, shown: str) -> None:
    (length,) = struct.unpack("<Q", head[:8])
    size = file.seek(0, 2)
    if length > _LONGEST_HEADER:
        raise CheckpointError(
            f"{shown} looks like a safetensors file with a header of {length:,} bytes, "
            f"which the format does not allow.",
            COPY_AGAIN,
        )
    if length + 8 > size:
        raise CheckpointError(
            f"{shown} is cut off: its header alone should be {length:,} bytes, the file has "
            f"{size:,}.",
            COPY_AGAIN,
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
    return f"{shown} is a text file, not a checkpoint.", _GIVE_WEIGHTS


def _what_binary(head: bytes, shown: str) -> tuple[str, str]:
    # An ONNX model is a protobuf: field 1 (IR version, a small number), then field 2 (producer).
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        return (
            f"{shown} is an ONNX model: a graph, without the layers hooks need.",
            "Give the PyTorch weights it was exported from.",
        )
    for magic, what in _FORMATS:
        if head.startswith(magic):
            return f"{shown} is {what}, not a checkpoint.", _GIVE_WEIGHTS
    if head[257:262] == b"ustar":
        return f"{shown} is a tar archive, not a checkpoint.", _GIVE_WEIGHTS
    return (
        f"{shown} is not a checkpoint: its first bytes ({head[:4].hex(' ')}) belong to no format "
        "that weights are read from.",
        _GIVE_WEIGHTS,
    )
