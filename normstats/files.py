"""Files that a crash, a kill or a full disk leaves old or new, never half written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_durably(file: Path, content: bytes) -> None:
    """Write a whole file under another name, bring it to the disk, then give it its name.

    Raises:
        OSError: the disk refuses; ``file`` is then as it was, and nothing else is left.
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    if os.name == "posix":  # the name too must reach the disk
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def to_json(content: Mapping[str, Any]) -> bytes:
    """JSON that is the same for the same content, with a line for each entry."""
    return (json.dumps(content, indent=1) + "\n").encode()
