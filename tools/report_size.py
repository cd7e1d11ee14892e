"""What takes the room in a page.

python tools/report_size.py report.html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PARTS = {
    "results": r'<script type="application/json".*?</script>',
    "script": r"<script>.*?</script>",
    "style": r"<style>\n:root.*?</style>",
    "drawings": r"<svg.*?</svg>",
    "data of figures": r'href="data:text/csv[^"]*"',
    "tables": r"<table.*?</table>",
}


def ledger(page: str) -> dict[str, tuple[int, int]]:
    """Bytes and pieces of each part of a page; what is none of them is ``other``."""
    found = {}
    for name, pattern in _PARTS.items():
        pieces = re.findall(pattern, page, re.DOTALL)
        found[name] = (sum(len(piece.encode()) for piece in pieces), len(pieces))
        page = re.sub(pattern, "", page, flags=re.DOTALL)
    return {**found, "other": (len(page.encode()), 1)}


def main(path: str) -> None:
    """Print the ledger, the largest part first."""
    parts = ledger(Path(path).read_text(encoding="utf-8"))
    total = sum(size for size, _ in parts.values())
    for name, (size, pieces) in sorted(parts.items(), key=lambda item: -item[1][0]):
        print(f"{name:16} {size / 1e3:9.1f} KB  {size / total:6.1%}  {pieces:5} pieces")  # noqa: T201
    print(f"{'total':16} {total / 1e3:9.1f} KB")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit(__doc__)
    main(sys.argv[1])
