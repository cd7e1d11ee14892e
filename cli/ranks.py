"""Several processes of one analysis, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

# The slowest rank may take so much longer than the fastest.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this is.

    Attributes:
        rank: its number; 0 leads.
        count: how many there are.
        local: its number on its machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun says it; one process where it did not start this one."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if not all(name in os.environ for name in names):
            return cls()
        return cls(*(int(os.environ[name]) for name in names[:3]))

    @property
    def leads(self) -> bool:
        """Whether this one prepares, analyzes and speaks."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device for this rank: its own GPU, where there are some and none is named."""
        if self.count == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        gpus = torch.cuda.device_count()
        return f"cuda:{self.local % gpus}" if gpus else name

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """This rank's share of some work; neighbours stay together."""
        first, last = (len(numbers) * rank // self.count for rank in (self.rank, self.rank + 1))
        return numbers[first:last]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside the block, the ranks can wait for each other."""
        if self.count == 1:
            yield
            return
        from torch import distributed

        distributed.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Until every rank is here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()
