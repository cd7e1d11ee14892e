"""Files that are not checkpoints, or not ones that can be read safely: refused, and never run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file
from torch import nn

from normstats.errors import CheckpointError
from normstats.inputs import read_checkpoint


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


def weights() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4)}


def saved(*, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights(), buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert path.name in caught.value.message
    return caught.value


def refused(tmp_path: Path, content: bytes, name: str = "file.pt") -> CheckpointError:
    path = tmp_path / name
    path.write_bytes(content)
    return refusal(path)


def test_missing_file(tmp_path: Path) -> None:
    error = refusal(tmp_path / "no.pt")
    assert "no file" in error.message
    assert error.hint


def test_folder(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    assert "is a folder without a checkpoint" in refusal(folder).message
    (folder / "last.pth").touch()
    assert "last.pth" in refusal(folder).message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (".metadata", "dcp_to_torch"),
        ("zero_to_fp32.py", "python zero_to_fp32.py"),
        ("saved_model.pb", "torch.save"),
    ],
)
def test_folders_of_other_programs(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / name).touch()
    assert told in refusal(tmp_path / "weights").hint


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is hidden from root")
def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir(mode=0)
    assert "cannot be read" in refusal(tmp_path / "weights").message


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "gone.pt").symlink_to("moved.pt")
    assert "leads nowhere" in refusal(tmp_path / "gone.pt").message


def test_name_longer_than_any_file_has(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / ("x" * 5000)).message


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    assert "pipe" in refusal(tmp_path / "pipe.pt").message


def test_empty_file(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path, b"").message


@pytest.mark.parametrize("kept", [30, 0.5, 0.99, -1])
def test_cut_off_zip(tmp_path: Path, kept: float) -> None:
    content = saved()
    end = int(kept * len(content)) if 0 < kept < 1 else int(kept)
    assert "cut off" in refused(tmp_path, content[:end]).message


def test_every_way_to_cut_off_a_legacy_pickle(tmp_path: Path) -> None:
    content = saved(legacy=True)
    for end in range(1, len(content), 7):
        assert "cut off" in refused(tmp_path, content[:end]).message, end


def test_every_way_to_cut_off_safetensors(tmp_path: Path) -> None:
    content = save(weights())
    for end in range(9, len(content), 7):
        assert "cut off" in refused(tmp_path, content[:end], "w.safetensors").message, end


def test_safetensors_is_known_by_content(tmp_path: Path) -> None:
    stored = weights()
    save_file(stored, tmp_path / "weights.pth")
    assert torch.equal(
        read_checkpoint(tmp_path / "weights.pth").tensors["conv.bias"], stored["conv.bias"]
    )


@pytest.mark.parametrize("length", [0x80, 0x4B50, 0x8080])
def test_safetensors_whose_header_length_looks_like_another_format(
    tmp_path: Path, length: int
) -> None:
    """Pickles begin with 0x80, zip archives with 0x50 0x4b."""
    content = save({"w": torch.ones(2)})
    (own,) = struct.unpack("<Q", content[:8])
    padded = struct.pack("<Q", length) + content[8 : 8 + own].ljust(length) + content[8 + own :]
    (tmp_path / "w.safetensors").write_bytes(padded)
    assert torch.equal(read_checkpoint(tmp_path / "w.safetensors").tensors["w"], torch.ones(2))


@pytest.mark.parametrize("shape", [[10**12], [2**40, 2**40], [10]])
def test_safetensors_header_that_lies(tmp_path: Path, shape: list[int]) -> None:
    size = 4 * int(np.prod([float(s) for s in shape]))
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    refused(tmp_path, struct.pack("<Q", len(header)) + header + b"\0" * 8, "w.safetensors")


@pytest.mark.parametrize("length", [2**63, 2**50, 10**8, 10**6])
def test_safetensors_header_of_absurd_length(tmp_path: Path, length: int) -> None:
    error = refused(tmp_path, struct.pack("<Q", length) + b'{"w": {}}', "w.safetensors")
    assert "header" in error.message


@pytest.mark.parametrize("legacy", [False, True])
def test_payload_in_a_checkpoint_does_not_run(tmp_path: Path, legacy: bool) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "payload.pt"
    content = {"state_dict": weights(), "extra": Payload(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    error = refusal(path)
    assert "posix.system" in error.message
    assert error.hint is not None
    assert "state_dict" in error.hint
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_payload_in_a_plain_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    error = refused(tmp_path, pickle.dumps({"a": Payload(trace)}, protocol), "payload.pkl")
    assert "posix.system" in error.message
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))  # the payload is a real one
    assert trace.exists()


def test_payload_in_a_text_pickle_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    refused(tmp_path, pickle.dumps(Payload(trace), 0))
    assert not trace.exists()


def test_pickle_cut_off_inside_is_refused(tmp_path: Path) -> None:
    assert "pickle" in refused(tmp_path, pickle.dumps({"a": Payload(tmp_path)}, 4)[:-20]).message


def test_whole_model_of_the_old_format_names_its_class(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    torch.save(network, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    assert "torch.nn.modules.container.Sequential" in refusal(tmp_path / "model.pt").message


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript(tmp_path: Path) -> None:
    module = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    torch.jit.save(module, tmp_path / "script.pt")
    error = refusal(tmp_path / "script.pt")
    assert "TorchScript" in error.message
    assert error.hint is not None
    assert "state_dict" in error.hint


@pytest.mark.slow
def test_exported_program(tmp_path: Path) -> None:
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "program.pt2")
    assert "torch.export" in refusal(tmp_path / "program.pt2").message


@pytest.mark.parametrize("member", ["program/archive_format", "serialized_exported_program.json"])
def test_exported_program_by_its_members(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "program.pt2", "w") as archive:
        archive.writestr(member, "pt2")
    assert "torch.export" in refusal(tmp_path / "program.pt2").message


def test_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("readme.md", "weights to follow")
    assert "readme.md" in refusal(tmp_path / "some.zip").message


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("images.npy", "NumPy archive"),
        ("model.weights.h5", "Keras"),
        ("net/.data/extern_modules", "torch.package"),
    ],
)
def test_archives_of_other_programs(tmp_path: Path, member: str, told: str) -> None:
    with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
        archive.writestr(member, "")
    assert told in refusal(tmp_path / "file.pt").message


def test_zip_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 10_000_000)
    assert "compressed" in refusal(tmp_path / "bomb.pt").message


def test_protocol_that_torch_cannot_read_safely(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "new.pt", pickle_protocol=4)
    assert "protocol 4" in refusal(tmp_path / "new.pt").message


def test_zip_archive_that_is_called_safetensors(tmp_path: Path) -> None:
    stored = weights()
    torch.save(stored, tmp_path / "w.safetensors")
    found = read_checkpoint(tmp_path / "w.safetensors").tensors
    assert torch.equal(found["conv.bias"], stored["conv.bias"])


def test_view_that_repeats_a_few_bytes(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(1).expand(10**12)}, tmp_path / "huge.pt")
    assert "fc.weight" in refusal(tmp_path / "huge.pt").message


def test_weights_without_values(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, device="meta")}, tmp_path / "meta.pt")
    assert "meta" in refusal(tmp_path / "meta.pt").message


def image_bytes(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form)
    return buffer.getvalue()


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"lr = 0.1\n", "text file"),
        ("poids entraînés".encode(), "text file"),
        (b"<!DOCTYPE html>\n<html><head></head></html>", "web page"),
        (b"\n<html>Not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "Git LFS"),
        (image_bytes("JPEG"), "JPEG"),
        (image_bytes("PNG"), "PNG"),
        (image_bytes("WEBP"), "RIFF"),
        (tar_bytes(), "tar archive"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "Keras"),
        (b"\x08\x0a\x12\x07pytorch" + bytes(20), "ONNX"),
        (b"\x08\x0a\x3a\x80\x01" + bytes(20), "ONNX"),
        (b"\x08\x01\x12\x0a\x0a\x02" + bytes(20), "08 01 12 0a"),
        (b"\x08", "08"),
        (b"GGUF\x03" + bytes(20), "GGUF"),
        (b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite"),
        (b"\x34\0\0\0ET12" + bytes(20), "ExecuTorch"),
        (b"\x93NUMPY\x01\0" + bytes(20), "NumPy"),
        (b'{"architectures": ["ResNet"]}', "text file"),
        (bytes(range(200, 256)) * 4, "c8 c9 ca cb"),
        (bytes(64), "00 00 00 00"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, told: str) -> None:
    error = refused(tmp_path, content)
    assert told in error.message
    assert error.hint


def test_random_bytes_never_crash(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    starts = [b"", b"PK\x03\x04", b"\x80\x02", saved(legacy=True)[:14], b"\x40" + bytes(7) + b"{"]
    for start in starts:
        for _ in range(20):
            refused(tmp_path, start + generator.bytes(300))


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    """A flipped byte may go unnoticed, among the weights' values; nothing else may happen."""
    generator = np.random.default_rng(0)
    path = tmp_path / "file.pt"
    for original in (saved(), saved(legacy=True), save(weights())):
        for position in generator.integers(0, len(original), 60):
            content = bytearray(original)
            content[position] ^= int(generator.integers(1, 256))
            path.write_bytes(content)
            with suppress(CheckpointError):
                read_checkpoint(path)


def test_damaged_pickles_never_crash(tmp_path: Path) -> None:
    """As above, in an archive that is whole but for its pickle."""
    generator = np.random.default_rng(0)
    content = {"state_dict": weights(), "model": nn.Linear(2, 2), "best": np.float32(1)}
    torch.save(content, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = members["whole/data.pkl"]
    for position in generator.integers(0, len(pickled), 200):
        damaged = bytearray(pickled)
        damaged[position] = generator.choice(bytearray(b"}](NtRbQ.sueaq\x80\x81\x85\x86\x87KMJX"))
        with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
            for name, member in members.items():
                archive.writestr(name, damaged if name == "whole/data.pkl" else member)
        with suppress(CheckpointError):
            read_checkpoint(tmp_path / "file.pt")


def test_control_characters_in_the_name_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n.pt"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"a\\x1b\[31m\\n\.pt is empty"):
        read_checkpoint(path)
