"""What the program prints when it refuses, and what it is given besides the thing it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from helpers import networks
from helpers.pictures import paint

ARCH = f"{Path(networks.__file__)}:small"


def bring(folder: Path, size: tuple[int, int] = (12, 12)) -> None:
    """Put good weights ``net.pth`` and four ``images`` into a folder."""
    torch.save(networks.small().state_dict(), folder / "net.pth")
    for value in range(4):
        paint(folder / "images" / f"{value}.png", 60 * value, size)


def analyze(checkpoint: object = "net.pth", **options: object) -> list[object]:
    """The command line of an analysis; what is not given is good, and None leaves it out."""
    usual = {"arch": ARCH, "images": "images", "out": "run", "methods": "ln", "workers": 0}
    flags: list[object] = []
    for name, value in (usual | options).items():
        if value is not None:
            flags += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    return ["analyze", checkpoint, *flags]


def assert_refused(outcome: Any, *words: str) -> None:
    """Exit status 2; one message with one hint, in printable characters; nothing else."""
    lines = outcome.err.splitlines()
    hints = [line for line in lines if line.startswith("Hint: ")]
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    assert len([line for line in lines if line.startswith("Error: ")]) == 1, outcome.err
    assert len(hints) == 1, outcome.err
    assert hints[0].removeprefix("Hint: ").strip()
    assert "Traceback" not in outcome.err
    assert all(line.isprintable() for line in lines)
    for word in words:
        assert word in outcome.err, outcome.err
    assert_no_run(Path("run"), outcome.err)


def assert_no_run(run: Path, err: str) -> None:
    """No run was written; what was captured stays only where the message says so."""
    assert not (run / "study.json").exists()
    assert run.exists() == ("What was captured stays in run" in err)
    assert not list(run.parent.glob(".normstats*"))


def die(*_: object) -> None:
    """For a process that is to end at once."""
    os._exit(1)
