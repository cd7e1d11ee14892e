"""Files made to do harm: each ends in one message, runs nothing, writes nothing, stays small.

All are given to the program in one process of its own, where everything it tries to run, write or
reach is recorded, and the memory is measured.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import networks
from helpers.confined import Run, run_all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and getrusage")

NETWORK = f"{Path(networks.__file__)}:small"
MOST_MEMORY = 2000  # MB

Make = Callable[[Path], object]
HOSTILE: dict[str, tuple[str, Make]] = {}
"""By name: a word that the message must have, and what writes the file."""


LARGE: dict[str, tuple[str, Make]] = {}
"""Likewise, of those that are as large as they may be, and take their time."""


def hostile(word: str, among: dict[str, tuple[str, Make]] = HOSTILE) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        among[make.__name__] = (word, make)
        return make

    return register


class Payload:
    """Loading it the careless way leaves a trace."""

    def __init__(self, function: Any = os.mkdir, *arguments: Any) -> None:
        self.reduced = (function, arguments or ("was_run",))

    def __reduce__(self) -> Any:
        return self.reduced


def weights() -> dict[str, torch.Tensor]:
    return dict(networks.small().state_dict())


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def archive(pickled: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """A zip archive as torch.save writes it, around a pickle of our own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr("archive/data.pkl", pickled)
        members.writestr("archive/byteorder", "little")
        for key, content in (storages or {}).items():
            members.writestr(f"archive/data/{key}", content)
        members.writestr("archive/version", "3\n")
    return buffer.getvalue()


# Instructions of a pickle.
START, END = b"\x80\x02", b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = pickle.encode_long(value)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def named(name: str) -> bytes:
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode()


def call(name: str, *arguments: bytes) -> bytes:
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def storage(items: int, key: str = "0", kind: str = "torch.FloatStorage") -> bytes:
    parts = text("storage") + named(kind) + text(key) + text("cpu") + number(items)
    return b"(" + parts + b"tQ"


def tensor(stored: bytes, offset: bytes, shape: bytes, strides: bytes) -> bytes:
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", stored, offset, shape, strides, b"\x89", hooks)


def dictionary(*items: bytes) -> bytes:
    return b"}(" + b"".join(items) + b"u"


def state(value: bytes) -> bytes:
    """A checkpoint whose only weight is ``value``, on a storage of eight numbers."""
    return archive(START + dictionary(text("fc.weight"), value) + END, {"0": bytes(32)})


# Pickles that want to run something.


@hostile("posix.mkdir")
def payload(path: Path) -> None:
    torch.save({"state_dict": weights(), "epoch": Payload()}, path)


@hostile("posix.mkdir")
def payload_of_the_old_format(path: Path) -> None:
    torch.save(
        {"state_dict": weights(), "epoch": Payload()}, path, _use_new_zipfile_serialization=False
    )


@hostile("posix.mkdir")
def payload_in_tuples(path: Path) -> None:
    torch.save({"state_dict": weights(), "a": [(1, {"b": ((2, (Payload(),)),)})]}, path)


@hostile("posix.mkdir")
def payload_in_the_settings(path: Path) -> None:
    torch.save({"model": weights(), "args": argparse.Namespace(lr=0.1, out=Payload())}, path)


@hostile("posix.mkdir")
def payload_as_a_key(path: Path) -> None:
    torch.save({"model": weights(), Payload(): 1}, path)


@hostile("posix.mkdir")
def payload_among_the_weights(path: Path) -> None:
    torch.save({"state_dict": weights() | {"fc.weight": Payload()}}, path)


@hostile("builtins.exec")
def payload_of_builtins(path: Path) -> None:
    torch.save({"model": weights(), "x": Payload(exec, "import os; os.mkdir('was_run')")}, path)


@hostile("posix.mkdir")
def payload_in_a_partial(path: Path) -> None:
    torch.save({"model": weights(), "x": functools.partial(os.mkdir, "was_run")}, path)


@hostile("torch.hub.load")
def payload_of_a_library(path: Path) -> None:
    torch.save({"model": weights(), "x": Payload(torch.hub.load, "evil/code", "net")}, path)


@hostile("posix.mkdir")
def payload_behind_a_tensor(path: Path) -> None:
    inner = named("posix.mkdir") + named("torch.Tensor") + b"(" + text("was_run") + b"t}"
    rebuilt = named("torch._tensor._rebuild_from_type_v2") + b"(" + inner + b"tR"
    path.write_bytes(state(rebuilt))


@hostile("STACK_GLOBAL")
def payload_by_stack_global(path: Path) -> None:
    stack_global = text("posix") + text("mkdir") + b"\x93(" + text("was_run") + b"tR"
    path.write_bytes(archive(START + stack_global + END))


@hostile("protocol 4")
def payload_of_protocol_4(path: Path) -> None:
    torch.save({"model": weights(), "x": Payload()}, path, pickle_protocol=4)


@hostile("INST")
def payload_by_inst(path: Path) -> None:
    path.write_bytes(archive(START + b"(" + text("was_run") + b"iposix\nmkdir\n" + END))


@hostile("OBJ")
def payload_by_obj(path: Path) -> None:
    path.write_bytes(archive(START + b"(" + named("posix.mkdir") + text("was_run") + b"o" + END))


@hostile("EXT1")
def payload_by_extension(path: Path) -> None:
    path.write_bytes(archive(START + b"\x82\x01" + END))


@hostile("posix.mkdir")
def payload_by_escapes(path: Path) -> None:
    """Readers disagree on whether the name is escaped."""
    path.write_bytes(archive(START + b"cposi\\x78\nmkdir\n(" + text("was_run") + b"tR" + END))


@hostile("posix.mkdir")
def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload()}))


@hostile("text file")
def text_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload()}, 0))


@hostile("attributes")
def methods_hidden_by_attributes(path: Path) -> None:
    attributes = dictionary(text("items"), named("collections.OrderedDict"))
    path.write_bytes(archive(START + call("collections.OrderedDict") + attributes + b"b" + END))


# Pickles that ask for what torch.load grants, and more of it than there is.


@hostile("builtins.bytearray")
def bytearray_of_a_terabyte(path: Path) -> None:
    path.write_bytes(state(call("builtins.bytearray", number(10**12))))


@hostile("torch.FloatTensor")
def tensor_of_any_size(path: Path) -> None:
    path.write_bytes(state(call("torch.FloatTensor", number(10**9))))


@hostile("another way")
def tensor_of_any_size_made_bare(path: Path) -> None:
    path.write_bytes(state(named("torch.FloatTensor") + b"(" + number(10**9) + b"t\x81"))


@hostile("UntypedStorage")
def storage_of_any_size(path: Path) -> None:
    path.write_bytes(state(call("torch.storage.UntypedStorage", number(10**10))))


@hostile("bytes of storage")
def storage_that_lies(path: Path) -> None:
    stored = storage(10**12)
    path.write_bytes(state(tensor(stored, number(0), numbers(10**12), numbers(1))))


@hostile("in a storage of 8")
def tensor_that_lies(path: Path) -> None:
    path.write_bytes(state(tensor(storage(8), number(0), numbers(10**9), numbers(1))))


@hostile("in a storage of 8")
def tensor_of_absurd_strides(path: Path) -> None:
    shape, strides = numbers(2, 2), numbers(2**62, 2**62)
    path.write_bytes(state(tensor(storage(8), number(0), shape, strides)))


@hostile("in a storage of 8")
def tensor_before_its_storage(path: Path) -> None:
    path.write_bytes(state(tensor(storage(8), number(-4), numbers(4), numbers(1))))


@hostile("claims the shape")
def tensor_that_repeats_itself(path: Path) -> None:
    path.write_bytes(state(tensor(storage(8), number(0), numbers(10**12), numbers(0))))


@hostile("gives a state")
def tensor_reset_by_its_state(path: Path) -> None:
    whole = tensor(storage(8), number(0), numbers(8), numbers(1))
    reset = b"(" + storage(8) + number(0) + numbers(10**10) + numbers(1) + b"tb"
    path.write_bytes(state(whole + reset))


@hostile("storage")
def storages_of_the_old_format_that_lie(path: Path) -> None:
    parts = saved({"fc.weight": torch.ones(8)}, _use_new_zipfile_serialization=False)
    assert parts.count(b"K\x08") > 1
    path.write_bytes(parts.replace(b"K\x08", b"J\xff\xff\xff\x7f"))


@hostile("again and again")
def values_copied_again_and_again(path: Path) -> None:
    many = b"](" + b"K\x01" * 100_000 + b"eq\x01"
    copies = b"(h\x01tRq\x02" + b"c__builtin__\nset\n(h\x01tR" * 3000
    path.write_bytes(archive(START + b"](" + many + b"c__builtin__\nset\n" + copies + b"e" + END))


@hostile("again and again")
def texts_encoded_again_and_again(path: Path) -> None:
    long = text("x" * 1_000_000) + b"q\x01"
    copies = b"c_codecs\nencode\n(h\x01tR" * 3000
    path.write_bytes(archive(START + b"](" + long + copies + b"e" + END))


@hostile("encodes")
def texts_encoded_slowly(path: Path) -> None:
    path.write_bytes(state(call("_codecs.encode", text("é" * 100_000), text("punycode"))))


@hostile("instructions", LARGE)
def pickle_of_many_dictionaries(path: Path) -> None:
    path.write_bytes(archive(START + b"](" + b"}" * 3_000_000 + b"e" + END))


@hostile("no weights", LARGE)
def pickle_of_as_many_objects_as_are_allowed(path: Path) -> None:
    ordered = b"ccollections\nOrderedDict\nq\x01" + b"h\x01)R" * 300_000
    path.write_bytes(archive(START + b"}(K\x01](" + ordered + b"eu" + END))


@hostile("no weights", LARGE)
def pickle_of_as_many_tensors_as_are_allowed(path: Path) -> None:
    """All of one storage, each by three instructions."""
    first = named("torch._utils._rebuild_tensor_v2") + b"q\x01(" + storage(8) + number(0)
    first += numbers(8) + numbers(1) + b"\x89" + call("collections.OrderedDict") + b"tq\x02R"
    path.write_bytes(
        archive(
            START + b"}(K\x01](" + first + b"h\x01h\x02R" * 300_000 + b"eu" + END, {"0": bytes(32)}
        )
    )


@hostile("more than 500 classes")
def pickle_of_many_classes(path: Path) -> None:
    path.write_bytes(archive(START + b"".join(b"ca\nb%d\n" % i for i in range(1000)) + END))


@hostile("tuples")
def keys_that_overflow_the_stack(path: Path) -> None:
    path.write_bytes(archive(START + b"})" + b"\x85" * 300_000 + b"K\x01s" + END))


@hostile("tuples")
def sets_that_overflow_the_stack(path: Path) -> None:
    deep = b"](" + b")" + b"\x85" * 300_000 + b"e"
    path.write_bytes(archive(START + call("builtins.set", deep) + END))


@hostile("no weights")
def lists_in_lists(path: Path) -> None:
    deep = b"]" * 100_000 + b"a" * 99_999
    path.write_bytes(archive(START + dictionary(text("epoch"), deep) + END))


@hostile("contains itself")
def network_that_contains_itself(path: Path) -> None:
    parts = text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules")
    children = b"}(" + text("a") + b"h\x01" + text("b") + b"h\x01u"
    path.write_bytes(
        archive(START + named("net.Net") + b")\x81q\x01}(" + parts + children + b"ub" + END)
    )


@hostile("10,000,000 characters")
def name_without_end(path: Path) -> None:
    one = tensor(storage(8), number(0), numbers(8), numbers(1))
    pickled = START + dictionary(text("x" * 10_000_000), one) + END
    path.write_bytes(archive(pickled, {"0": bytes(32)}))


@hostile(r"\x1b[2J\x1b]0;evil\x07<script>")
def names_that_drive_the_terminal(path: Path) -> None:
    torch.save({"\x1b[2J\x1b]0;evil\x07<script>alert(1)</script>": torch.ones(3)}, path)


HOSTILE["\x1b[2J<script>\n.pt"] = (r"\x1b[2J<script>\n.pt", payload)


# Archives.


def repacked(path: Path, compression: int, **extra: bytes) -> None:
    with (
        zipfile.ZipFile(io.BytesIO(saved(weights()))) as original,
        zipfile.ZipFile(path, "w", compression) as members,
    ):
        for name in original.namelist():
            members.writestr(name, extra.pop(Path(name).name, original.read(name)))
        for name, content in extra.items():
            members.writestr(name, content)


def zeros(gigabytes: int) -> bytes:
    """Deflated; a block of a megabyte again and again."""
    deflate = zlib.compressobj(wbits=-15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * (gigabytes << 10) + deflate.flush()


def relabelled(content: bytes, member: str, size: int, method: int | None = None) -> bytes:
    """An archive whose directory says something else of a member."""
    changed = bytearray(content)
    listed = changed.rindex(b"PK\x01\x02", 0, changed.rindex(member.encode()))
    changed[listed + 24 : listed + 28] = struct.pack("<I", size)
    if method is not None:
        changed[listed + 10 : listed + 12] = struct.pack("<H", method)
        local = changed.index(b"PK\x03\x04", changed.index(member.encode()) - 30)
        changed[local + 8 : local + 10] = struct.pack("<H", method)
        changed[local + 22 : local + 26] = struct.pack("<I", size)
    return bytes(changed)


@hostile("compressed")
def bomb_in_the_pickle(path: Path) -> None:
    content = archive(zeros(3))
    path.write_bytes(relabelled(content, "archive/data.pkl", 3 << 30, zipfile.ZIP_DEFLATED))


@hostile("compressed")
def bomb_in_a_storage(path: Path) -> None:
    stored = tensor(storage(3 << 28), number(0), numbers(3 << 28), numbers(1))
    pickled = START + dictionary(text("fc.weight"), stored) + END
    content = archive(pickled, {"0": zeros(3)})
    path.write_bytes(relabelled(content, "archive/data/0", 3 << 30, zipfile.ZIP_DEFLATED))


@hostile("compressed")
def member_larger_than_the_archive(path: Path) -> None:
    content = archive(START + b"}" + END, {"0": bytes(100)})
    path.write_bytes(relabelled(content, "archive/data/0", 2**31))


@hostile("damaged")
def pickle_elsewhere_than_the_directory_says(path: Path) -> None:
    content = bytearray(archive(START + b"}" + END))
    content[content.index(b"archive/data.pkl")] = ord("X")
    path.write_bytes(content)


@hostile("ambiguous")
def two_pickles(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("archive/data.pkl", START + b"}" + END)
        members.writestr("other/data.pkl", pickle.dumps(Payload(), 2))


@hostile("ambiguous")
def pickles_that_differ_in_case(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("archive/Data.pkl", pickle.dumps(Payload(), 2))
        members.writestr("archive/data.pkl", START + b"}" + END)


@hostile("ambiguous")
def members_outside(path: Path) -> None:
    repacked(path, zipfile.ZIP_STORED, **{"../../was_written": b"evil"})


# safetensors.


def safetensors(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def entry(shape: list[int], start: int, end: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


@hostile("header")
def header_of_an_absurd_length(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b'{"w": {}}' + b"\0" * 100)


@hostile("header")
def header_beyond_all_need(path: Path) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90_000_000) + b"{")
        file.truncate(100_000_000)


@hostile("damaged")
def shape_that_overflows(path: Path) -> None:
    path.write_bytes(safetensors(json.dumps({"w": entry([2**33, 2**33], 0, 0)}).encode()))


@hostile("damaged")
def shape_beyond_the_file(path: Path) -> None:
    header = json.dumps({"w": entry([10**12], 0, 4 * 10**12)}).encode()
    path.write_bytes(safetensors(header, bytes(64)))


@hostile("damaged")
def offsets_that_overlap(path: Path) -> None:
    header = json.dumps({"a": entry([8], 0, 32), "b": entry([8], 0, 32)}).encode()
    path.write_bytes(safetensors(header, bytes(32)))


@hostile("damaged")
def names_given_twice(path: Path) -> None:
    one, two = json.dumps(entry([1], 0, 4)), json.dumps(entry([1], 4, 8))
    path.write_bytes(safetensors(f'{{"w": {one}, "w": {two}}}'.encode(), bytes(8)))


@hostile("damaged")
def json_in_json(path: Path) -> None:
    path.write_bytes(safetensors(b'{"w":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"))


@hostile("dimensions")
def shape_of_many_dimensions(path: Path) -> None:
    header = json.dumps({"w": entry([1] * 1_000_000, 0, 4)}, separators=(",", ":")).encode()
    path.write_bytes(safetensors(header, bytes(4)))


@hostile("quantized")
def numbers_without_their_scales(path: Path) -> None:
    header = json.dumps({"w": entry([8], 0, 8, "F8_E4M3")}).encode()
    path.write_bytes(safetensors(header, bytes(8)))


# Files in several parts, and files that are none.


def index(folder: Path, weight_map: object) -> None:
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@hostile("outside of its folder")
def shard_above(path: Path) -> None:
    index(path, {"w": "../weights.safetensors"})


@hostile("outside of its folder")
def shard_at_the_root(path: Path) -> None:
    index(path, {"w": "/etc/passwd"})


@hostile("outside of its folder")
def shard_of_another_system(path: Path) -> None:
    index(path, {"w": "..\\..\\weights.safetensors"})


@hostile("outside of its folder")
def shard_without_a_name(path: Path) -> None:
    index(path, {"w": ["model.safetensors"]})


@hostile("missing")
def shard_that_is_not_there(path: Path) -> None:
    index(path, {"w": "\x1b[2J<script>.safetensors", "v": "\ud800"})


@hostile("an index of shards, where a file")
def index_as_a_shard(path: Path) -> None:
    index(path, {"w": "model.safetensors.index.json"})


@hostile("pipe")
def pipe_as_a_shard(path: Path) -> None:
    index(path, {"w": "pipe"})
    os.mkfifo(path / "pipe")


@hostile("circle")
def shard_in_a_circle(path: Path) -> None:
    index(path, {"w": "circle"})
    (path / "circle").symlink_to("circle")


@hostile("not an index")
def index_without_end(path: Path) -> None:
    path.mkdir()
    deep = '{"weight_map":' + "[" * 1_000_000
    (path / "model.safetensors.index.json").write_text(deep)


@hostile("too long")
def index_of_nothing(path: Path) -> None:
    path.mkdir()
    with (path / "model.safetensors.index.json").open("w") as file:
        file.write('{"weight_map": {' + " " * 21_000_000)


@hostile("pipe")
def pipe(path: Path) -> None:
    os.mkfifo(path)


@hostile("device")
def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@hostile("circle")
def link_in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


@hostile("usual name")
def folder_in_a_circle(path: Path) -> None:
    path.mkdir()
    (path / "again").symlink_to(".", target_is_directory=True)


def run_those(files: dict[str, tuple[str, Make]], folder: Path) -> dict[str, Run]:
    """By name; and what happened to good weights, and to code that the user asks to be run."""
    folder.mkdir()
    torch.save(weights(), folder / "good")
    (folder / "mine.py").write_text("import os\nos.mkdir('mine')\n")
    for name, (_, make) in files.items():
        make(folder / name)
    commands = {name: ["layers", name, "--arch", NETWORK, "--size", "32"] for name in files}
    good = ["layers", "good", "--arch", NETWORK, "--size", "32"]
    code = ["layers", "good", "--arch", "mine.py:net"]
    # First, so that what libraries do when they are imported is not taken for a file's doing.
    return run_all({"good": good, "code": code, **commands}, folder)


def assert_refused(run: Run, word: str) -> None:
    assert run.status == 2, run.err
    assert run.out == ""
    assert [line[:7] for line in run.err.splitlines()].count("Error: ") == 1
    assert "Hint: " in run.err
    assert "Traceback" not in run.err
    assert word in run.err
    assert len(run.err) < 2000
    assert all(character.isprintable() or character == "\n" for character in run.err)
    assert run.deeds == []
    assert run.peak < MOST_MEMORY


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return run_those(HOSTILE, tmp_path_factory.mktemp("hostile") / "files")


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_one_message(runs: dict[str, Run], name: str) -> None:
    assert_refused(runs[name], HOSTILE[name][0])


@pytest.mark.slow
def test_as_large_as_may_be(tmp_path: Path) -> None:
    large = run_those(LARGE, tmp_path / "files")
    for name, (word, _) in LARGE.items():
        assert_refused(large[name], word)


def test_good_weights_load_and_what_runs_is_seen(runs: dict[str, Run]) -> None:
    assert runs["good"].status == 0, runs["good"].err
    assert any(deed.startswith("os.mkdir ('mine'") for deed in runs["code"].deeds)


def test_the_payload_is_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / "was_run").exists()
