"""The errors a user can mend: what happened, why, and how to go on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NormstatsError(Exception):
    """Something the user can mend.

    The command line prints ``message`` and ``hint`` and leaves with exit status 2; from Python,
    ``str(error)`` holds both.

    Args:
        message: what happened, and why.
        hint: how to mend it; a sentence.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}\n{hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[NormstatsError], tuple[str, str]]:
        # Errors travel out of worker processes, with both their arguments.
        return type(self), (self.message, self.hint)


class MethodError(NormstatsError):
    """A normalization method that is not written correctly, or that no layer can have."""


class LayerError(NormstatsError):
    """A layer that does not exist, or that cannot be captured."""


class CaptureError(NormstatsError):
    """A forward pass that could not be observed."""


class CheckpointError(NormstatsError):
    """A file that is not a readable checkpoint, or does not fit its architecture."""


class ArchitectureError(NormstatsError):
    """An architecture that cannot be found or built."""


class ImagesError(NormstatsError):
    """Images that are missing, unreadable or do not fit together."""


class DeviceError(NormstatsError):
    """A device that is not there."""


class RunFolderError(NormstatsError):
    """A run folder that cannot be read or must not be overwritten."""


class SettingError(NormstatsError):
    """An option whose value makes no sense."""


def did_you_mean(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """A sentence with the entries of ``known`` closest to ``word``, or an empty string."""
    near = get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else ""
