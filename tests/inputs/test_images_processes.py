"""Reading in several processes: the same as in one, and told when one of them dies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pictures import PLAIN, noise, paint, read
from torch import Tensor

from normstats.errors import ImagesError
from normstats.inputs import open_images
from normstats.inputs.images import Images, processes
from normstats.inputs.images.source import Listing, numbered


@dataclass(frozen=True)
class Numbers:
    """Images of one value each; some end the process that reads them, or tell which it is."""

    listing: Listing
    deadly: int | None = None
    parent: int = 0

    def content(self, index: int) -> Tensor:
        if index == self.deadly and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        if index % 7 == 3:
            raise ValueError("every seventh")
        return torch.tensor([float(index), float(os.getpid()), torch.get_num_threads()]).reshape(
            1, 1, 3
        )


def numbers(count: int, deadly: int | None = None) -> Images:
    source = Numbers(Listing("numbers", numbered(count), ready=True), deadly, os.getpid())
    return Images(source, range(count), PLAIN, 1, allow_bad=True)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_processors", lambda: 2)


@pytest.mark.parametrize("workers", [0, 1, 2, 50])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_order_and_labels(workers: int, count: int) -> None:
    images = numbers(count)
    values = read(images, 9, workers)[0][:, 0, 0]
    expected = [index for index in range(count) if index % 7 != 3]
    assert values[:, 0].tolist() == expected
    assert [name for name, _ in images.skipped] == [
        f"[{index}]" for index in range(count) if index % 7 == 3
    ]
    pids = set(values[:, 1].tolist())
    if workers == 0:
        assert pids == {float(os.getpid())}
    else:
        assert float(os.getpid()) not in pids
        assert len(pids) <= min(workers, 2)
        assert set(values[:, 2].tolist()) == {1}


def test_workers_change_nothing(tmp_path: Path) -> None:
    for value in range(40):
        paint(tmp_path / str(value % 3) / f"{value}.png", value)
    (tmp_path / "1" / "broken.png").write_bytes(b"no image")
    results = []
    for workers, batch_size in ((0, 7), (1, 7), (2, 40)):
        images = open_images(tmp_path)
        results.append((*read(images, batch_size, workers), images.skipped, images.fingerprint))
    for result in results[1:]:
        assert torch.equal(results[0][0], result[0])
        assert results[0][1:] == result[1:]
    assert results[0][2] == [("1/broken.png", "not an image")]


def test_a_process_that_dies_is_told() -> None:
    images = numbers(200, deadly=100)
    with pytest.raises(ImagesError, match=r"died, at one of those from \[\d+\] to \[\d+\]") as got:
        read(images, 4, 2)
    assert "--workers" in got.value.hint
    assert images.fingerprint is None


def test_processes_end_when_reading_stops_early() -> None:
    batches = numbers(1000).batches(4, 2)
    first = next(batches)
    assert isinstance(first, Tensor)
    pid = int(first[0, 0, 0, 1])
    assert Path(f"/proc/{pid}").exists()
    batches.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", noise(5000, 8, 8))
    program = (
        "import time, multiprocessing\n"
        "from normstats.inputs import open_images\n"
        f"batches = open_images({str(tmp_path / 'images.npy')!r}).batches(1, 1)\n"
        "next(batches)\n"
        "print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z (" in state(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process outlives its parent")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "Z ("


def test_sources_can_be_sent_to_processes_that_share_nothing(tmp_path: Path) -> None:
    """As on systems that do not fork."""
    paint(tmp_path / "folder" / "1.png")
    np.save(tmp_path / "a.npy", noise(4))
    np.savez_compressed(tmp_path / "b.npz", noise(4))
    for name in ("folder", "a.npy", "b.npz"):
        images = open_images(tmp_path / name)
        expected = read(images)[0]
        sent = pickle.loads(pickle.dumps(images))
        assert torch.equal(read(sent)[0], expected)
    opened = open_images(tmp_path / "a.npy")
    before = len(pickle.dumps(opened))
    read(opened)
    assert len(pickle.dumps(opened)) < before + 200  # and not the array with it
