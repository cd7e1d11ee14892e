"""The names and shapes of the weights of the zoos' architectures, found out without their memory.

Building hundreds of networks takes its time, so what was found is kept on disk for each version of
a zoo: in ``$NORMSTATS_CACHE``, else where the system keeps caches. A file there that is damaged is
made again; a folder that cannot be written is done without.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from normstats.errors import ArchitectureError
from normstats.inputs.checkpoints.matching import Shapes, shapes
from normstats.inputs.zoos import timm_zoo, torchvision_zoo

_FORMAT = 1  # of the files in the cache

Signatures = Mapping[str, Shapes]


@dataclass(frozen=True, eq=False)
class Zoo:
    """Architectures that come in families: those of one source file.

    Attributes:
        name: ``torchvision`` or ``timm``.
        version: of the package.
        families: names of architectures by family.
        build: the network of a name.
    """

    name: str
    version: str
    families: Mapping[str, tuple[str, ...]]
    build: Callable[[str], nn.Module]

    def has(self, name: str) -> bool:
        """Whether it has an architecture of that name."""
        return any(name in members for members in self.families.values())

    def members(self, family: str) -> Signatures:
        """The signature of every architecture of a family."""
        return self._remembered(family, self.families[family])

    def samples(self) -> Mapping[str, Signatures]:
        """A few signatures of each family: of one architecture for each word a name begins with."""
        chosen = {family: _shortest_by_word(names) for family, names in self.families.items()}
        everything = [name for names in chosen.values() for name in names]
        signatures = self._remembered("samples", everything)
        return {
            family: {name: signatures[name] for name in names if name in signatures}
            for family, names in chosen.items()
        }

    def signature(self, name: str) -> Shapes:
        """The signature of one architecture.

        Raises:
            ArchitectureError: it cannot be built.
        """
        try:
            with _WithoutMemory():
                model = self.build(name)
        except ArchitectureError:  # it computes with its weights while it is built
            with torch.device("meta"):
                model = self.build(name)
        return shapes({n: t for n, t in model.state_dict().items() if isinstance(t, Tensor)})

    def _remembered(self, title: str, names: Iterable[str]) -> Signatures:
        file = cache_folder() / f"{self.name}-{self.version}-{_FORMAT}" / f"{title}.json"
        known = _read(file, names)
        if known is None:
            known = {}
            for name in names:
                with suppress(ArchitectureError):  # one that this torch cannot build, nobody has
                    known[name] = self.signature(name)
            _write(file, known)
        return known


def torchvision() -> Zoo:
    """torchvision's architectures, but for the quantized: those are made from others."""
    import torchvision as package

    names = [name for name in torchvision_zoo.names() if not name.startswith("quantized_")]
    return Zoo(
        "torchvision",
        package.__version__,
        _families(names, torchvision_zoo.source_file),
        # With their auxiliary heads: that these may be missing is known.
        lambda name: torchvision_zoo.build(name, torchvision_zoo.AUXILIARY),
    )


def timm() -> Zoo | None:
    """timm's architectures; None where it is not installed."""
    package = timm_zoo.timm_if_installed()
    if package is None:
        return None
    families = _families(package.list_models(), timm_zoo.source_file)
    return Zoo("timm", package.__version__, families, timm_zoo.build)


def cache_folder() -> Path:
    """Where signatures are kept: ``$NORMSTATS_CACHE``, else a folder below the user's caches."""
    if chosen := os.environ.get("NORMSTATS_CACHE"):
        return Path(chosen).expanduser()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "normstats"
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return home / "normstats" / "Cache"
    caches_of_mac = sys.platform == "darwin"
    return Path.home() / ("Library/Caches" if caches_of_mac else ".cache") / "normstats"


def _families(
    names: Iterable[str], source_file: Callable[[str], str]
) -> Mapping[str, tuple[str, ...]]:
    families: dict[str, list[str]] = defaultdict(list)
    for name in names:
        families[source_file(name)].append(name)
    return {family: tuple(members) for family, members in families.items()}


def _shortest_by_word(names: Iterable[str]) -> list[str]:
    chosen: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (len(name), name)):
        word = re.match("[a-z]*", name)
        chosen.setdefault(word[0] if word else "", name)
    return list(chosen.values())


class _WithoutMemory(TorchFunctionMode):
    """Within it, weights are made on the meta device, and left without values.

    Only what makes weights is moved there. ``torch.device("meta")`` moves everything, and
    some architectures (RegNet) compute their widths with tensors.
    """

    _MAKERS = frozenset(
        {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
    )
    # What initialisation is made of. On the meta device it changes nothing, but takes most time.
    _FILLERS = frozenset(
        {
            *(Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_, Tensor.copy_),
            *(Tensor.erfinv_, Tensor.clamp_, Tensor.add_, Tensor.sub_, Tensor.mul_, Tensor.div_),
        }
    )

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return options["tensor"] if "tensor" in options else args[0]
        if func in self._FILLERS and args[0].is_meta:
            return args[0]
        if func in self._MAKERS and options.get("device") is None:
            options = {**options, "device": "meta"}
        return func(*args, **options)


def _read(file: Path, names: Iterable[str]) -> Signatures | None:
    """What a file of the cache holds; None where it is missing or damaged."""
    try:
        content = json.loads(file.read_bytes())
        signatures = {
            name: {weight: tuple(map(int, shape)) for weight, shape in weights.items()}
            for name, weights in content.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return signatures if signatures.keys() <= set(names) else None


def _write(file: Path, signatures: Signatures) -> None:
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Others may read while this writes, so the file appears at once.
        handle, draft = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(signatures, stream, separators=(",", ":"))
            Path(draft).replace(file)
        finally:
            Path(draft).unlink(missing_ok=True)
