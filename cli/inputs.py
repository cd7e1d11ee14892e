"""What a run was made from, written down so that it can be loaded again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normstats.inputs import Images, LoadedModel

DEMO = "demo"  # what stands in a run's provenance in the place of its inputs


@dataclass(frozen=True)
class Inputs:
    """A checkpoint, its architecture and images, as the user names them.

    Attributes:
        checkpoint, arch, dtype: as ``normstats.inputs.load`` takes them.
        images, limit, seed, resize, crop, mean, std, layout, allow_bad: as
            ``normstats.inputs.open_images`` takes them.
        channel_dim: as ``normstats.capture`` takes it.
        directory: where ``package.module:function`` is imported from.
    """

    checkpoint: str
    arch: str | None
    dtype: str
    images: str
    limit: int | None
    seed: int
    resize: int | None
    crop: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    layout: str | None
    allow_bad: bool
    channel_dim: int | None
    directory: str = "."

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Inputs:
        """What ``record`` wrote, back from JSON."""
        lists = {name: record[name] and tuple(record[name]) for name in ("mean", "std")}
        return cls(**{**record, **lists})

    def record(self) -> dict[str, Any]:
        """For a run's provenance: under names that hold in any folder."""
        return asdict(
            replace(
                self,
                checkpoint=absolute(self.checkpoint),
                arch=absolute_architecture(self.arch),
                images=absolute(self.images),
                directory=str(Path.cwd()),
            )
        )

    def load(self) -> LoadedModel:
        """The network with its weights."""
        from normstats.inputs import load

        with _inside(self.directory):
            return load(self.checkpoint, self.arch, dtype=self.dtype)

    def open_images(self, loaded: LoadedModel) -> Images:
        """The images, prepared as that network wants them or as was asked for."""
        from normstats.inputs import input_channels, open_images

        return open_images(
            self.images,
            preprocessing=loaded.preprocessing,
            resize=self.resize,
            crop=self.crop,
            mean=self.mean,
            std=self.std,
            limit=self.limit,
            seed=self.seed,
            input_channels=input_channels(loaded.model),
            layout=self.layout,
            allow_bad=self.allow_bad,
        )


def absolute(name: str) -> str:
    """The name with its file or folder, if it is one, as an absolute path.

    Also in ``file:key`` and ``kind:place``.
    """
    kind, colon, place = name.partition(":")
    if path := _absolute_path(name):
        return path
    path = _absolute_path(place) if colon else None
    return f"{kind}:{path}" if path else name


def absolute_architecture(arch: str | None) -> str | None:
    """``file.py:function`` with an absolute path; names of the zoos as they are."""
    return absolute(arch) if arch is not None and ".py" in arch else arch


def _absolute_path(name: str) -> str | None:
    """Of a file, a folder, or one of them with ``:key`` behind it; None where there is none."""
    home, colon, key = name.rpartition(":")
    if _exists(name):
        return str(Path(name).expanduser().absolute())
    if colon and _exists(home):
        return f"{Path(home).expanduser().absolute()}:{key}"
    return None


def _exists(name: str) -> bool:
    try:
        return name != "" and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, an unknown ~user
        return False


@contextmanager
def _inside(directory: str) -> Iterator[None]:
    """Inside the block modules are imported from ``directory``, if it is still there."""
    here = Path.cwd()
    if Path(directory).is_dir():
        os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(here)
