"""Killed at any moment, a run goes on from its last whole part, and ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from normstats.capture_folder import LOCK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_IMAGES = 128 * 14 + 50
_NETWORK = """
import torch
from torch import nn


def network():
    layers = []
    for channels in (3, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers)
"""
_OPTIONS = [
    *("--arch", "network.py:network", "--images", "images.npz", "--methods", "bn@2,bn@8,gn:4,ln"),
    *("--batch-size", "16", "--memory-format", "contiguous", "--out", "run"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its weights and images."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "network.py").write_text(_NETWORK)
    scope: dict[str, object] = {}
    exec(_NETWORK, scope)
    torch.manual_seed(0)
    torch.save(scope["network"]().state_dict(), folder / "weights.pt")  # type: ignore[operator]
    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "images.npz", images=pixels, labels=np.arange(_IMAGES) % 5)
    return folder


def _start(place: Path, launcher: Sequence[str] = ("-m", "normstats")) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *launcher, "analyze", "weights.pt", *_OPTIONS, "--quiet"],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _finish(place: Path, launcher: Sequence[str] = ("-m", "normstats")) -> None:
    run = _start(place, launcher)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors.decode()


def _kill(run: subprocess.Popen[bytes]) -> None:
    """The process and those that it started, as a power cut would."""
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def _files(run: Path) -> dict[str, bytes]:
    """All but the lock, which a killed process leaves behind, open."""
    files = (f for f in sorted(run.rglob("*")) if f.is_file() and f.name != LOCK)
    return {str(f.relative_to(run)): f.read_bytes() for f in files}


def _parts(place: Path) -> int:
    try:
        names = [file.name for file in (place / "run" / "moments.unfinished").iterdir()]
    except FileNotFoundError:  # not yet, or no longer: a run that is done gives it another name
        return 0
    return sum(name.startswith("part-") and name.endswith(".json") for name in names)


@pytest.fixture(scope="module")
def expected(place: Path) -> Path:
    """A run that nothing happened to, and how long it took."""
    began = time.monotonic()
    _finish(place)
    (place / "seconds").write_text(str(time.monotonic() - began))
    (place / "run").rename(place / "expected")
    return place / "expected"


@pytest.fixture(autouse=True)
def nothing_from_before(place: Path, expected: Path) -> None:
    """Whatever the test before has left."""
    shutil.rmtree(place / "run", ignore_errors=True)


def test_twenty_kills_change_no_byte(place: Path, expected: Path) -> None:
    chance = random.Random(0)
    whole = float((place / "seconds").read_text())
    kills = 0
    while kills < 20:
        run, began = _start(place), time.monotonic()
        if kills % 2:  # soon after a part was written: while the next is captured or written
            before, limit = _parts(place), time.monotonic() + 60
            while run.poll() is None and _parts(place) <= before and time.monotonic() < limit:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1))
        else:  # at any moment, from the start to the last table
            time.sleep(chance.uniform(0.3, 1) * whole)
        if run.poll() is None:
            _kill(run)
            kills += 1
            if kills == 5:
                _damage(place)
        else:
            _, errors = run.communicate()
            assert run.returncode == 0, errors.decode()
            whole = min(whole, time.monotonic() - began)  # or no kill would come in time
        if (place / "run" / "study.json").exists():
            assert _files(place / "run") == _files(expected)
            shutil.rmtree(place / "run")
    _finish(place)
    assert _files(place / "run") == _files(expected)


def _damage(place: Path) -> None:
    """What a pulled cable may leave: a part cut short, another file that is half there."""
    parts = sorted((place / "run" / "moments.unfinished").glob("part-*.safetensors"))
    if parts:
        parts[0].write_bytes(parts[0].read_bytes()[:1000])
        (parts[0].parent / ".part-00009.safetensors.123").write_bytes(b"half")


def test_a_full_disk_is_said_and_gone_on_from(place: Path, expected: Path) -> None:
    # No file may become larger than so many kilobytes: none of the parts fits, their JSON does.
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 20; exec {sys.executable} -m normstats analyze weights.pt "
         + " ".join(_OPTIONS)],
        cwd=place,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert limited.returncode == 2, limited.stderr
    assert "Moments cannot be written" in limited.stderr
    assert "Make room" in limited.stderr
    assert not (place / "run").exists()  # nothing came of it
    _finish(place)
    assert _files(place / "run") == _files(expected)


def test_an_unfinished_run_of_something_else_is_refused(place: Path, expected: Path) -> None:
    run = _start(place)
    while not _parts(place):
        assert run.poll() is None
        time.sleep(0.01)
    _kill(run)
    before = _files(place / "run")
    other = subprocess.run(
        [sys.executable, "-m", "normstats", "analyze", "weights.pt", *_OPTIONS, "--limit", "100"],
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert other.returncode == 2
    assert "unfinished run that differs in: images" in other.stderr
    assert _files(place / "run") == before
    _finish(place)
    assert _files(place / "run") == _files(expected)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_give_the_same_tables(place: Path, expected: Path, ranks: int) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}")
    launcher += ("-m", "normstats")
    run = _start(place, launcher)
    while not _parts(place):
        assert run.poll() is None
        time.sleep(0.01)
    victim = _rank(run.pid, ranks - 1)
    os.kill(victim, signal.SIGKILL)
    run.communicate()
    assert run.returncode != 0
    there = _parts(place)
    assert there
    _finish(place, launcher)
    for file in sorted(expected.glob("*.csv")):
        ours, theirs = pd.read_csv(place / "run" / file.name), pd.read_csv(file)
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6, atol=1e-9)


def _rank(launcher: int, rank: int) -> int:
    """The process of that rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")
