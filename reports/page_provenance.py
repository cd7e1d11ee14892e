"""Where a run comes from: all that is needed to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from normstats.printable import printable
from normstats.study import Study


def provenance(study: Study) -> list[tuple[str, str]]:
    """All that is needed to make the run again, by name."""
    source, settings = study.provenance, study.settings
    command = source.get("command", [])
    rows: list[tuple[str, Any]] = [
        ("command", " ".join(map(_quoted, command))),
        *_flat("checkpoint", source.get("checkpoint", {})),
        ("images", f"{source['images']:,}"),
        *_flat("images", source.get("images_from", {})),
        ("device", source.get("device", "")),
        *_flat("capture", source.get("capture", {})),
        *((name, version) for name, version in source.get("versions", {}).items()),
        *settings.items(),
        *(row for name, part in study.parts.items() for row in _flat(name, part.settings)),
    ]
    return [(name, printable(_words(value))) for name, value in rows if value not in ("", None, {})]


def _flat(name: str, content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(f"{name} {_TITLES.get(key, key)}", value) for key, value in content.items()]


_TITLES = {
    "sha256": "SHA-256",
    "path": "from",
    "memory_format": "memory format",
    "batch_size": "batch size",
}


def _quoted(word: str) -> str:
    return f"'{word}'" if any(c in word for c in " *?[]$&|;<>()") else word


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} ({reason})" for key, reason in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
