"""The program: its commands, and what an error looks like."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from normstats._version import __version__
from normstats.errors import NormstatsError
from normstats_cli import (
    analyze,
    composition,
    demo,
    grouping,
    layers,
    merge,
    mixing,
    plane,
    report,
    show,
    validate,
)
from normstats_cli.console import messages, print_error


class _PlainHelp(TyperGroup):
    """Lists the commands without rich, whose import takes longer than all the rest."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "rich_markup_mode": None})


app = typer.Typer(
    name="normstats",
    cls=_PlainHelp,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the list of commands; each command's own help says more.
app.command("demo", short_help="Analyze the network inside; nothing to bring.")(demo.demo)
app.command("analyze", short_help="Measure a checkpoint on images.")(analyze.analyze)
app.command("layers", short_help="List what would be captured.")(layers.layers)
app.command("show", short_help="Print a run again.")(show.show)
app.command("report", short_help="Draw a run as a page, or compare several.")(report.report)
app.command("merge", short_help="Join what was captured apart.")(merge.merge)
app.command("grouping", short_help="Ask a run: are GroupNorm's groups good ones?")(
    grouping.grouping
)
app.command("plane", short_help="Ask a run: how many images, how many channels?")(plane.plane)
app.command("composition", short_help="Ask a run: batches of one class, or of all?")(
    composition.composition
)
app.command("mixing", short_help="Ask a run: mix batch and stored statistics?")(mixing.mixing)
app.command("validate", short_help="Ask the network: do the errors matter?")(validate.validate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"normstats {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """How far are a normalization layer's statistics from the ideal ones: is it noise or bias?

    Start with `normstats demo`: it needs nothing but this program.

    Examples:

      normstats analyze checkpoint.pth --images photos

      normstats analyze resnet50 --images photos
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit status 0 is fine, 2 the user can mend, 1 is a defect."""
    # Else PyTorch's threads keep their cores busy for milliseconds after each operation, waiting
    # for the next, and the threads of a capture, which come in between, wait for them.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Maps in large pages: fresh memory is handed out 2 MB at a time, not 4 kB.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app(args=None if arguments is None else list(arguments))
    except NormstatsError as error:
        print_error(error)
        sys.exit(2)
    except Exception as error:
        if os.environ.get("NORMSTATS_DEBUG"):
            raise
        messages().print(
            f"normstats failed: {type(error).__name__}: {error}\nThis is a defect. Set "
            "NORMSTATS_DEBUG=1 to see where it happened, and please report it.",
            markup=False,
        )
        sys.exit(1)
