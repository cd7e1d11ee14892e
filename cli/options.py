"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from normstats.errors import SettingError
from normstats.methods import Method, parse_methods


class Weights(str, Enum):
    """How channels count in their layer's average."""

    gamma = "gamma"
    uniform = "uniform"


class Keeps(str, Enum):
    """What of the capture is kept."""

    layers = "layers"
    none = "none"


class Dtypes(str, Enum):
    """The precision of the network's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        show_default=False,
        help="A file of weights, a folder of shards, or a zoo's own: resnet50, "
        "torchvision:NAME[:WEIGHTS], timm:NAME, timm:hf-hub:USER/NAME.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel="The network",
        help="resnet50, torchvision:NAME, timm:NAME, file.py:function or package.module:function; "
        "left out, it is recognised by the weights.",
    ),
]
Dtype = Annotated[
    Dtypes,
    typer.Option(rich_help_panel="The network", help="Precision of the weights and activations."),
]
Layers = Annotated[
    str | None,
    typer.Option(
        metavar="GLOB",
        rich_help_panel="The network",
        help="Only these layers, e.g. 'layer3.*,bn1'.",
    ),
]
ChannelDim = Annotated[
    int | None,
    typer.Option(
        metavar="AXIS",
        rich_help_panel="The network",
        help="The channel axis where a layer does not say it, e.g. -1 for tokens.",
    ),
]
ANALYSIS = "The analysis"
Methods = Annotated[
    str,
    typer.Option(
        rich_help_panel=ANALYSIS,
        show_default="BatchNorm of 1 to 64 images and one of each other kind",
        help="bn@B, in, ln, gn:G, gn:Nch, bgn@B:G, running and your own (file.py:name), with "
        "commas between.",
    ),
]
Weighting = Annotated[
    Weights,
    typer.Option(
        rich_help_panel=ANALYSIS,
        help="Weigh a channel by its learned scale squared, or all channels alike.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(metavar="S", rich_help_panel=ANALYSIS, help="Of the sample and the resampling."),
]
Full = Annotated[
    bool,
    typer.Option(
        "--full",
        rich_help_panel=ANALYSIS,
        help="Also answer grouping, plane, mixing and, with classes, composition.",
    ),
]
Keep = Annotated[
    Keeps,
    typer.Option(
        rich_help_panel=ANALYSIS,
        help="layers: the moments of each image, which answer every further question. none: only "
        "sums over the images, for these methods, for data sets of any size.",
    ),
]
_RESULT = "The result"
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        rich_help_panel=_RESULT,
        help="The run folder to write; by default a new one in runs/.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", rich_help_panel=_RESULT, help="Replace the run in the --out folder."),
]
Run = Annotated[Path, typer.Argument(show_default=False, help="A folder that analyze wrote.")]
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=_RESULT, help="Print JSON instead of tables.")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", rich_help_panel=_RESULT, help="No progress and no notes on stderr."),
]


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


def methods(text: str) -> list[Method]:
    """``"bn@8,ln,norms.py:frn"`` as methods.

    Raises:
        MethodError: one of them is none.
    """
    names = [name for name in text.split(",") if ".py:" not in name]
    if ".py:" not in text:
        return parse_methods(names)

    from normstats.inputs import load_method

    files = (name.strip() for name in text.split(",") if ".py:" in name)
    return parse_methods([*names, *map(load_method, files)])


def whole_numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """``"2,8,32"`` as numbers of at least 1.

    Raises:
        SettingError: it holds something else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise SettingError(
            f"{option} {text!r} is not a list of numbers.",
            f"Write whole numbers with commas between, e.g. {option} 2,8,32.",
        )
    return tuple(map(int, parts))


def answered_by_sums(methods: Sequence[Method], *, full: bool) -> None:
    """Refuse what needs the moments of each image.

    Raises:
        SettingError: something asked for does.
    """
    own = [str(method) for method in methods if method.has_own_statistics]
    if full or own:
        raise SettingError(
            f"{'--full' if full else own[0]} needs the moments of each image, which --keep none "
            "does not keep.",
            "Leave out --keep none, or what needs them.",
        )


def at_least(smallest: int, value: int, option: str) -> None:
    """Refuse a number below ``smallest``.

    Raises:
        SettingError: it is.
    """
    if value < smallest:
        raise SettingError(f"{option} {value} makes no sense.", f"The least is {smallest}.")
