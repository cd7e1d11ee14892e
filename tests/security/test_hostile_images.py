"""Images made to do harm: each ends in one message or a counted skip, runs nothing, stays small.

All are given to the program in one process of its own, where everything it tries to run, write or
reach is recorded, and the memory is measured.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import socket
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import networks
from helpers.confined import Run, run_all
from helpers.pictures import noise
from numpy.lib import format as npy_format
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and getrusage")

MOST_MEMORY = 2000  # MB
GOOD = 800

Make = Callable[[Path], object]
FILES: dict[str, tuple[str, Make]] = {}
"""Image files in a folder of good ones, by name: a word of the reason, and what writes the file."""

REFUSED: dict[str, tuple[str, Make]] = {}
"""What is given to --images: a word of the message, and what writes it."""

READ: dict[str, tuple[int, Make]] = {}
"""What is read without harm: the number of images skipped, and what writes it."""


def among(those: dict[str, tuple[Any, Make]], expected: Any, name: str = "") -> Any:
    def register(make: Make) -> Make:
        those[name or make.__name__] = (expected, make)
        return make

    return register


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_run",)


def encoded(seed: int = 0, form: str = "PNG", size: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(1, size, size, seed=seed)[0]).save(buffer, form)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def with_chunks(*chunks: bytes) -> bytes:
    """A good PNG with more chunks behind its header."""
    whole = encoded()
    return whole[:33] + b"".join(chunks) + whole[33:]


@functools.cache
def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    packed = [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join(packed) + packer.flush()


def png_header(width: int, height: int, depth: int = 1, colour: int = 0) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields)


# Files in a folder.


@among(FILES, "decompression bomb", "bomb.png")
def png_bomb(path: Path) -> None:
    """2.5 gigapixels in 300 kB."""
    path.write_bytes(png_header(50_000, 50_000) + chunk(b"IDAT", zeros(300)) + chunk(b"IEND", b""))


@among(FILES, "decompression bomb", "header.png")
def png_of_any_size(path: Path) -> None:
    path.write_bytes(png_header(2**31 - 1, 2**31 - 1, 8, 6) + chunk(b"IDAT", b"x"))


@among(FILES, "decompression bomb", "bomb.gif")
def gif_bomb(path: Path) -> None:
    size = struct.pack("<HH", 65535, 65535)
    path.write_bytes(b"GIF89a" + size + bytes(3) + b"," + bytes(4) + size + b"\0\x08" + bytes(99))


@among(FILES, "decompression bomb", "bomb.ppm")
def ppm_bomb(path: Path) -> None:
    path.write_bytes(b"P6 99999 99999 255\n")


@among(FILES, "decompression bomb", "bomb.bmp")
def bmp_bomb(path: Path) -> None:
    size = struct.pack("<ii", 2**30, 2**30)
    whole = encoded(form="BMP")
    path.write_bytes(whole[:18] + size + whole[26:])


@among(FILES, "decompression bomb", "bomb.tif")
def tiff_bomb(path: Path) -> None:
    path.write_bytes(tiff({256: 2**31 - 1, 257: 2**31 - 1}))


@among(FILES, "", "offsets.tif")
def tiff_with_absurd_offsets(path: Path) -> None:
    path.write_bytes(tiff({256: 16, 257: 16, 273: 2**32 - 1, 279: 2**32 - 1}))


@among(FILES, "", "circle.tif")
def tiff_in_a_circle(path: Path) -> None:
    """Its list of pictures ends where it begins, and its strip is the header."""
    path.write_bytes(tiff({256: 16, 257: 16, 273: 0, 279: 8}, following=8))


def tiff(tags: Mapping[int, int], following: int = 0) -> bytes:
    entries = {258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 256, **tags}
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + listed + struct.pack("<I", following)


@among(FILES, "Decompressed data too large", "text.png")
def png_with_a_text_bomb(path: Path) -> None:
    path.write_bytes(with_chunks(chunk(b"zTXt", b"Comment\0\0" + zeros(300))))


@among(FILES, "Decompressed data too large", "itext.png")
def png_with_an_international_text_bomb(path: Path) -> None:
    path.write_bytes(with_chunks(chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(300))))


@among(FILES, "Too much memory", "texts.png")
def png_with_many_texts(path: Path) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))
    path.write_bytes(with_chunks(*[text] * 500))


@among(FILES, "Decompressed data too large", "profile.png")
def png_with_a_profile_bomb(path: Path) -> None:
    path.write_bytes(with_chunks(chunk(b"iCCP", b"profile\0\0" + zeros(300))))


@among(FILES, "truncated", "cut.jpg")
def cut_jpeg(path: Path) -> None:
    whole = encoded(form="JPEG", size=100)
    path.write_bytes(whole[: len(whole) // 2])


@among(FILES, "not an image", "page.png")
def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><script>alert(1)</script>")


@among(FILES, "not an image", "postscript.jpg")
def postscript(path: Path) -> None:
    path.write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%mkdir was_run) (w) file"
    )


@among(FILES, "not an image", "pickle.png")
def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload()))


@among(FILES, "symbolic links", "loop.png")
def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@among(FILES, "not an image", "passwd.png")
def link_to_a_secret(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@among(FILES, "device", "zero.png")
def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@among(FILES, "a pipe", "pipe.png")
def pipe(path: Path) -> None:
    os.mkfifo(path)


@among(FILES, "a pipe", "socket.png")
def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


CONTROL = "\x1b]0;owned\x07\x1b[2J\r\n\u202egnp"
for number, bad in enumerate((CONTROL, "<script>alert(1)<", "[red]{{7*7}}%s%n", "\udcff\udcfe")):

    @among(FILES, "not an image", f"{bad}{number}.png")
    def named(path: Path) -> None:
        path.write_text("no image")


# What is given to --images and refused.


@among(REFUSED, "More than 5 %")
def nothing_but_bombs(path: Path) -> None:
    path.mkdir()
    for number in range(5):
        png_bomb(path / f"{number}.png")


@among(REFUSED, "no image in")
def folders_in_a_circle(path: Path) -> None:
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "up").symlink_to(path, target_is_directory=True)
    (path / "a" / "self").symlink_to("self")


@among(REFUSED, "a pipe")
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@among(REFUSED, "device")
def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@among(REFUSED, "no folder or file")
def a_name_that_drives_the_terminal(path: Path) -> str:
    return f"{path}/\x1b[2J\x1b]0;owned\x07\r\n<b>"


def header(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header with a size field of our own."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tar_with(*blocks: bytes) -> Callable[[Path], None]:
    good = header("good.png", b"%011o\0" % len(encoded()))
    padded = encoded() + bytes(-len(encoded()) % 512)

    def make(path: Path) -> None:
        path.with_suffix(".tar").write_bytes(good + padded + b"".join(blocks) + bytes(1024))

    return make


HUGE = b"\x80" + (2**62).to_bytes(11, "big")
NEGATIVE = b"\xff" * 10 + b"\xf6\x00"
LARGE = b"%011o\0" % (8**11 - 1)

among(REFUSED, "cut off", "tar_of_a_huge_file.tar")(tar_with(header("1.png", HUGE)))
among(REFUSED, "cut off", "tar_of_a_large_file.tar")(tar_with(header("1.png", LARGE)))
among(REFUSED, "damaged", "tar_of_a_negative_file.tar")(tar_with(header("1.png", NEGATIVE)))
for letter in (b"x", b"g", b"L", b"K", b"S"):
    for word, size in (("huge", HUGE), ("large", LARGE), ("negative", NEGATIVE)):
        among(REFUSED, "damaged", f"tar_with_a_{word}_header_{letter.decode()}.tar")(
            tar_with(header("1.png", size, letter), header("2.png", b"%011o\0" % 0))
        )
among(REFUSED, "damaged", "tar_with_a_wrong_extension.tar")(
    tar_with(header("x", b"%011o\0" % 12, b"x"), b"99999 path=\n".ljust(512, b"\0"))
)


@among(REFUSED, "gunzip")
def gzip_bomb(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + zeros(100)[2:])


def npy(shape: object, dtype: str = "|u1", content: bytes = b"") -> bytes:
    return npy_of(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}", content)


def npy_of(text: str, content: bytes = b"") -> bytes:
    head = text.encode() + b"\n"
    return npy_format.MAGIC_PREFIX + b"\1\0" + struct.pack("<H", len(head)) + head + content


def npy_objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


NPY = {
    "huge": ("cut off", npy((2**62, 3, 8, 8))),
    "wrapping": ("cut off", npy((2**32, 2**32, 1, 3))),
    "large": ("cut off", npy((100_000, 3, 1000, 1000))),
    "negative": ("damaged", npy((-1, 3, 8, 8), content=bytes(192))),
    "float_shape": ("damaged", npy((1.5, 3, 8, 8), content=bytes(400))),
    "many_axes": ("", npy((1,) * 3000, content=b"x")),
    "code": ("damaged", npy_of("__import__('os').mkdir('was_run')")),
    "nested": ("damaged", npy_of("(" * 4000 + ")" * 4000)),
    "text": ("large", npy_of(" " * 50_000)),
    "long": ("damaged", npy_format.MAGIC_PREFIX + b"\2\0\xff\xff\xff\xff" + b" " * 99_000),
    "objects": ("pickled Python objects", npy_objects()),
    "structured": ("void", npy((2, 3, 8, 8), "|V4000", bytes(2 * 3 * 64 * 4000))),
    "subarrays": ("", npy((1, 3, 8, 8)).replace(b"'|u1'", b"('<f4', (99999, 99999))")),
    "version": ("damaged", npy_format.MAGIC_PREFIX + b"\xff\xff" + bytes(99)),
}
for name, (word, content) in NPY.items():

    @among(REFUSED, word, f"{name}.npy")
    def npy_file(path: Path, content: bytes = content) -> None:
        path.write_bytes(content)


def packed(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@among(REFUSED, "cut off", "promise.npz")
def npz_that_promises(path: Path) -> None:
    packed(path, {"x.npy": npy((2**40, 3, 8, 8))})


def sizes_changed(path: Path, sizes: bytes) -> None:
    """Another unpacked size in the archive's directory and local header."""
    whole = bytearray(path.read_bytes())
    whole[22:26] = sizes
    at = whole.rindex(b"PK\1\2") + 24
    whole[at : at + 4] = sizes
    path.write_bytes(whole)


@among(REFUSED, "compressed", "bomb.npz")
def npz_bomb(path: Path) -> None:
    """3 GB of nothing, honestly."""
    packed(path, {"x.npy": npy((1000, 3, 1000, 1000)) + b""})
    whole = path.read_bytes()
    assert len(whole) < 1000
    sizes_changed(path, struct.pack("<I", 3_000_000_000 + 200))


@among(REFUSED, "damaged", "liar.npz")
def npz_that_unpacks_to_more(path: Path) -> None:
    """300 MB behind an array of 192 bytes."""
    head = npy((1, 3, 8, 8))
    packed(path, {"x.npy": head + bytes(300 << 20)})
    sizes_changed(path, struct.pack("<I", len(head) + 192))


@among(REFUSED, "pickled Python objects", "objects.npz")
def npz_of_objects(path: Path) -> None:
    packed(path, {"images.npy": npy_objects()})


@among(REFUSED, "arrays", "many.npz")
def npz_of_many(path: Path) -> None:
    packed(path, {f"{number}.npy": b"" for number in range(5000)})


@among(REFUSED, "no array", "other.npz")
def zip_of_something_else(path: Path) -> None:
    packed(path, {"../../was_run": b"1", "data.pkl": pickle.dumps(Payload())})


@among(REFUSED, "no array", "\x1b[2J<b>.npz")
def npz_whose_name_drives_the_terminal(path: Path) -> None:
    packed(path, {})


@among(REFUSED, "arrays: ", "names.npz")
def npz_whose_arrays_drive_the_terminal(path: Path) -> None:
    np.savez(path, **{f"{CONTROL}{number}": np.zeros(3) for number in range(3)})


def safetensors(head: bytes, length: int | None = None, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + content


def tensor(shape: list[int], offsets: list[int], dtype: str = "U8") -> bytes:
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


SAFETENSORS = {
    "length": safetensors(b"{}", 2**63),
    "long": safetensors(b"{" + b" " * 100_000, 99_999_999),
    "shape": safetensors(tensor([2**60, 3, 2**20, 8], [0, 192]), content=bytes(192)),
    "offsets": safetensors(tensor([1, 3, 8, 8], [2**62, 2**62 + 192]), content=bytes(192)),
    "backwards": safetensors(tensor([1, 3, 8, 8], [192, 0]), content=bytes(192)),
    "negative": safetensors(tensor([-1, 3, 8, 8], [0, 192]), content=bytes(192)),
    "nested": safetensors(b'{"x":' * 10_000 + b"0" + b"}" * 10_000),
    "json": safetensors(b"{nonsense}"),
    "type": safetensors(tensor([1, 3, 8, 8], [0, 192], "\x1b[2J"), content=bytes(192)),
}
for name, content in SAFETENSORS.items():

    @among(REFUSED, "cannot be read as safetensors", f"{name}.safetensors")
    def safetensors_file(path: Path, content: bytes = content) -> None:
        path.write_bytes(content)


@among(REFUSED, "is a pickle")
def cifar_with_a_payload(path: Path) -> str:
    folder = path / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Payload()))
    return f"cifar10:{path}"


@among(REFUSED, "cannot be read")
def mnist_of_any_size(path: Path) -> str:
    folder = path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            content = struct.pack(">4i", 0x803, *[2**31 - 1] * 3)
            (folder / f"{part}-{kind}-ubyte").write_bytes(content)
    return f"mnist:{path}"


# What is given to --images and read.


@among(READ, len(FILES))
def a_folder(path: Path) -> None:
    for number in range(GOOD):
        folder = path / ("<i>\x1b[2J" if number % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(number % 7))
    for name, (_, make) in FILES.items():
        make(path / "b" / name)
    (path / "b" / "up").symlink_to(path, target_is_directory=True)


@among(READ, 3, "archive.tar")
def tar_that_leads_elsewhere(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for number in range(70):
            name = ["../../was_run/", "/was_run/", "a/../../../"][number % 3]
            member = tarfile.TarInfo(f"{name}{CONTROL if number == 5 else ''}{number}.png")
            member.size = len(encoded(number % 7))
            archive.addfile(member, io.BytesIO(encoded(number % 7)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"a/kind{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)


@among(READ, 0)
def folder_of_files_that_unpack_to_more(path: Path) -> None:
    """300 MB of pixels behind a header that says 256."""
    path.mkdir()
    surplus = png_header(16, 16, 8) + chunk(b"IDAT", zeros(300)) + chunk(b"IEND", b"")
    for number in range(4):
        (path / f"{number}.png").write_bytes(encoded(number) if number else surplus)


@among(READ, 0)
def good(path: Path) -> None:
    path.mkdir()
    for number in range(4):
        (path / f"{number}.png").write_bytes(encoded(number))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "files"
    folder.mkdir()
    torch.save(networks.small().state_dict(), folder / "net.pth")
    return folder


def command(place: Path, name: str, make: Make, *options: str) -> list[str]:
    path = place / name
    spec = make(path)
    return [
        *("analyze", "net.pth", "--arch", f"{Path(networks.__file__)}:small"),
        *("--images", str(spec or path), "--out", f"out/{name}", "--methods", "ln"),
        *("--workers", "0", "--batch-size", "200", *options),
    ]


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, Run]:
    # First what is good: it imports the libraries, some of which look around as they start.
    makes = {"good": READ["good"], **REFUSED, **READ}
    return run_all({name: command(place, name, make) for name, (_, make) in makes.items()}, place)


def assert_harmless(run: Run, place: Path) -> None:
    assert "Traceback" not in run.err
    assert all(character.isprintable() or character == "\n" for character in run.out + run.err)
    assert run.peak < MOST_MEMORY
    assert not (place / "was_run").exists()
    assert not (place.parent / "was_run").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_message(runs: dict[str, Run], place: Path, name: str) -> None:
    run = runs[name]
    assert run.status == 2, run.err
    assert run.out == ""
    assert [line[:7] for line in run.err.splitlines()].count("Error: ") == 1
    assert "Hint: " in run.err
    assert REFUSED[name][0] in run.err
    assert len(run.err) < 2000
    assert not [deed for deed in run.deeds if not is_inside(deed, place)]
    assert not (place / "out" / name).exists()
    assert_harmless(run, place)


def is_inside(deed: str, place: Path) -> bool:
    """Whether something was done below out/, where runs are written."""
    # The last is the folder in which the run was prepared, below out/ as well.
    roots = ("out", f"{place}/out")
    parts = [f"('{root}{end}" for root in roots for end in ("'", "/")]
    return any(part in deed for part in (*parts, *(f" '{r}/" for r in roots), "os.rmdir ('run', "))


@pytest.mark.parametrize("name", READ)
def test_read_without_harm(runs: dict[str, Run], place: Path, name: str) -> None:
    run = runs[name]
    assert run.status == 0, run.err
    skipped = READ[name][0]
    assert (f"{skipped} of " in run.err) == bool(skipped)
    if name != "good":
        assert [deed for deed in run.deeds if not is_inside(deed, place)] == []
    assert_harmless(run, place)


def test_every_file_is_skipped_with_the_reason(runs: dict[str, Run], place: Path) -> None:
    assert runs["a_folder"].status == 0, runs["a_folder"].err
    study = json.loads((place / "out" / "a_folder" / "study.json").read_text())
    skipped = study["provenance"]["images_from"]["skipped"]
    assert len(skipped) == len(FILES)
    for name, (word, _) in FILES.items():
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
        assert word in skipped[f"b/{shown}"]


LARGEST: dict[str, tuple[int, Make]] = {}
"""Images just below Pillow's limit: the status when they are cropped, and what writes them."""


@among(LARGEST, 0)
def colours(path: Path) -> None:
    uniform(path, Image.new("RGBA", (9400, 9400), (1, 2, 3, 4)))


@among(LARGEST, 0)
def grey_of_16_bits(path: Path) -> None:
    uniform(path, Image.fromarray(np.full((9400, 9400), 300, np.uint16)))


@among(LARGEST, 2)
def thin(path: Path) -> None:
    """Resizing would make it wider still."""
    uniform(path, Image.new("RGB", (9_000_000, 9)))


def uniform(path: Path, image: Image.Image) -> None:
    path.mkdir()
    image.save(path / "0.png", compress_level=1)
    os.link(path / "0.png", path / "1.png")


@pytest.mark.slow
def test_as_large_as_may_be(place: Path) -> None:
    commands = {}
    for name, (_, make) in LARGEST.items():
        commands[name] = command(place, name, make)
        cropped = command(place, f"{name} cropped", lambda path: None, "--resize", "32")
        cropped[cropped.index("--images") + 1] = str(place / name)
        commands[f"{name} cropped"] = [*cropped, "--crop", "16"]
    runs = run_all(commands, place)
    for name, (status, _) in LARGEST.items():
        assert runs[name].status == 2
        assert "million" in runs[name].err
        assert runs[f"{name} cropped"].status == status, runs[f"{name} cropped"].err
    for run in runs.values():
        assert_harmless(run, place)


def test_the_payload_is_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.load(io.BytesIO(npy_objects()), allow_pickle=True)
    assert (tmp_path / "was_run").exists()
