"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from normstats.errors import SettingError


class Weights(str, Enum):
    """How channels count in their layer's average."""

    gamma = "gamma"
    uniform = "uniform"


Checkpoint = Annotated[
    Path, typer.Argument(show_default=False, help="A PyTorch or safetensors file of weights.")
]
Arch = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="resnet50, torchvision:NAME, timm:NAME, file.py:function or package.module:function.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="The run folder to write; by default a new one in runs/."),
]
Force = Annotated[bool, typer.Option(help="Replace the run in the --out folder.")]
Layers = Annotated[
    str | None, typer.Option(metavar="GLOB", help="Only these layers, e.g. 'layer3.*,bn1'.")
]
ChannelDim = Annotated[
    int | None,
    typer.Option(metavar="AXIS", help="The channel axis where a layer does not say it."),
]
WeightsOption = Annotated[
    Weights,
    typer.Option(help="Weigh a channel by its learned scale squared, or all channels alike."),
]
Quiet = Annotated[bool, typer.Option(help="No progress and no notes on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of tables.")]


def numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    """``"0.485,0.456,0.406"`` as numbers.

    Raises:
        SettingError: it holds something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(
            f"{option} {text!r} is not a list of numbers.",
            f"Write one number a channel with commas between, e.g. {option} 0.485,0.456,0.406.",
        ) from None


def at_least(smallest: int, value: int, option: str) -> None:
    """Refuse a number below ``smallest``.

    Raises:
        SettingError: it is.
    """
    if value < smallest:
        raise SettingError(f"{option} {value} makes no sense.", f"The least is {smallest}.")
