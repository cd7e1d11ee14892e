"""Small networks for tests; also what ``--arch tests/helpers/networks.py:small`` builds."""

import torch
from torch import nn


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, classes),
    )


class Breaks(nn.Module):
    """The second norm sees NaN in one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.good = nn.BatchNorm2d(8)
        self.bad = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.good(self.conv(x))
        x[:, 5] = torch.log(x[:, 5] - x[:, 5].amax() - 1)
        return self.bad(x)


def breaks() -> nn.Module:
    torch.manual_seed(0)
    return Breaks()


def needs_size(size: int) -> nn.Module:
    return nn.Conv2d(3, size, 3)


def not_a_module() -> str:
    return "network"


def raises() -> nn.Module:
    raise RuntimeError("no weights today")
