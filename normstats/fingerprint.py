"""What makes a set of images this one and no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def fingerprint_of(digests: Iterable[bytes]) -> str:
    """SHA-256 over images, each by the SHA-256 of its name and content, in hexadecimal."""
    return hashlib.sha256(b"".join(digests)).hexdigest()
