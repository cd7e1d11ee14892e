"""Write docs/cli.md from the program itself, with Typer's own generator.

python tools/cli_reference.py
"""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
_NOTE = "<!-- Written by tools/cli_reference.py from the program; a test holds it to that. -->\n\n"


def reference() -> str:
    """The page as the program has it now."""
    command = [sys.executable, "-m", "typer", "normstats_cli.main", "utils", "docs"]
    printed = subprocess.run(
        [*command, "--name", "normstats"], capture_output=True, text=True, check=True
    )
    text = html.unescape(printed.stdout)
    for tag, mark in (('<span style="font-weight: bold">', "**"), ("</span>", "**")):
        text = text.replace(tag, mark)
    return _NOTE + text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8", newline="\n")
