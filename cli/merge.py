"""``normstats merge``: what was captured apart, analyzed together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from normstats.methods import DEFAULT_METHODS
from normstats_cli import options
from normstats_cli.console import note, working
from normstats_cli.runs import check_folder, choose_folder, finish, made_with


def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            show_default=False,
            help="Folders that analyze wrote, finished or not.",
        ),
    ],
    methods: options.Methods = DEFAULT_METHODS,
    weights: options.Weighting = options.Weights.gamma,
    seed: options.Seed = 0,
    full: options.Full = False,
    out: options.Out = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Bring together what was captured on several machines or days, and analyze it.

    Runs of the same network: of other images, which follow each other, or of the same images,
    of which each captured some.

    Examples:

      normstats merge runs/monday runs/tuesday --out runs/both
    """
    chosen = options.methods(methods)
    check_folder(out, force=force)

    from normstats.capture_folder import locked
    from normstats.merging import Captured, copied, together
    from normstats.run_folder import UNFINISHED

    with working("Reading the parts", quiet=quiet):
        captured = [Captured.read(run) for run in runs]
        parts = together(captured)
    images = sum(part.about["images"] for part in parts)
    note(f"{len(parts):,} parts, {images:,} images.", quiet=quiet)
    folder = choose_folder(out, "merged")
    with locked(folder, folder / UNFINISHED):
        with working("Copying the parts", quiet=quiet):
            moments = copied(
                captured, parts, folder / UNFINISHED, _provenance(captured[0].provenance, runs)
            )
        finish(
            moments,
            methods=chosen,
            weights=weights.value,
            seed=seed,
            folder=folder,
            force=force,
            json=json,
            quiet=quiet,
            full=full,
        )


def _provenance(first: Any, runs: list[Path]) -> dict[str, Any]:
    """What all runs have in common, and which they are."""
    return {
        "checkpoint": dict(first.get("checkpoint", {})),
        "images_from": {"path": ", ".join(map(str, runs))},
        "device": first.get("device", ""),
        **made_with(),
    }
