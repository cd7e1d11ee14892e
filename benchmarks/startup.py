"""How long ``normstats --help`` takes to start.

python benchmarks/startup.py
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from measuring import arguments, interleaved, median, ratio, run, show


def main() -> None:
    """Print the table."""
    options = arguments(__doc__, repetitions=15).parse_args()
    commands = {
        'python -c "import typer"': (sys.executable, "-c", "import typer"),
        "normstats --help": (Path(sys.executable).with_name("normstats"), "--help"),
    }
    ways = {name: partial(run, *command) for name, command in commands.items()}
    taken = interleaved(ways, options.repetitions)
    typer = next(iter(ways))
    show(
        f"Start-up, {options.repetitions} repetitions",
        ["command", "ms", "ratio"],
        [[way, f"{median(taken, way) * 1e3:.0f}", ratio(taken, way, typer)] for way in ways],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
