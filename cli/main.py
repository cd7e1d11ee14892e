"""The program: its commands, and what an error looks like."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

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

app = typer.Typer(
    name="normstats",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_FURTHER = "Further questions to a run"
app.command("demo")(demo.demo)
app.command("analyze")(analyze.analyze)
app.command("layers")(layers.layers)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("merge")(merge.merge)
app.command("grouping", rich_help_panel=_FURTHER)(grouping.grouping)
app.command("plane", rich_help_panel=_FURTHER)(plane.plane)
app.command("composition", rich_help_panel=_FURTHER)(composition.composition)
app.command("mixing", rich_help_panel=_FURTHER)(mixing.mixing)
app.command("validate", rich_help_panel=_FURTHER)(validate.validate)


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

    Start with [bold]normstats demo[/bold]: it needs nothing but this program.
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit status 0 is fine, 2 the user can mend, 1 is a defect."""
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
