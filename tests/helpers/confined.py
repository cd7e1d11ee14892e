"""Run the program many times in one process of its own, and watch what it does.

As a script: ``python confined.py JOURNAL`` runs each command line of a JSON list on stdin, and
writes a line of JSON for each: its status and output, the peak memory so far, and every attempt
to run something, to write a file or to reach the network.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_WATCHED = (
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.forkpty"),
    *("subprocess.Popen", "pty.spawn", "os.startfile", "socket.connect", "socket.bind"),
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile", "webbrowser.open"),
)
_TO_MB = 20 if sys.platform == "darwin" else 10


@dataclass(frozen=True)
class Run:
    """What one command line did.

    Attributes:
        status: its exit status.
        out, err: what it printed.
        peak: memory in MB, the most that the process held until its end.
        seconds: how long it took.
        deeds: attempts to run, write or connect.
    """

    status: int
    out: str
    err: str
    peak: int
    seconds: float
    deeds: list[str]


def _peak_megabytes() -> int:
    """The most memory this process had. Not ``ru_maxrss`` where there is another way: a child
    begins with that of the process it was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> _TO_MB


def run_all(
    commands: Mapping[str, Sequence[str]], folder: Path, *, patience: float = 500
) -> dict[str, Run]:
    """Run the program with each of the arguments, started in ``folder``; those that crashed it,
    and all after them, are missing from the result."""
    journal = folder.with_name(f"{folder.name}.journal")
    subprocess.run(
        [sys.executable, __file__, str(journal)],
        input=json.dumps(list(commands.values())),
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)},
        timeout=patience,
        check=False,
    )
    runs = [Run(**json.loads(line)) for line in journal.read_text().splitlines()]
    return dict(zip(commands, runs, strict=False))


def _main() -> None:
    from normstats_cli.main import run

    deeds: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in _WATCHED:
            deeds.append(f"{event} {arguments}")
        elif event == "open":
            path, mode, flags = arguments
            written = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if written and path != os.devnull:
                deeds.append(f"open {path!r} {mode!r}")

    journal = Path(sys.argv[1]).open("w")  # noqa: SIM115
    commands = json.load(sys.stdin)
    sys.addaudithook(watch)
    for command in commands:
        deeds.clear()
        out, err = io.StringIO(), io.StringIO()
        started = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run(command)
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
        result = {
            "status": status,
            "out": out.getvalue(),
            "err": err.getvalue(),
            "peak": _peak_megabytes(),
            "seconds": round(time.monotonic() - started, 2),
            "deeds": list(deeds),
        }
        journal.write(json.dumps(result) + "\n")
        journal.flush()


if __name__ == "__main__":
    _main()
