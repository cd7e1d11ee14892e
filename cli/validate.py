"""``normstats validate``: the errors of a run's statistics, put into the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normstats_cli import options
from normstats_cli.console import note, progress, results, working
from normstats_cli.runs import keep

if TYPE_CHECKING:
    from normstats.validation import Estimate

_MOVED = "Where it is now, if it has moved"


def validate(
    run: Annotated[Path, typer.Argument(show_default=False, help="A folder that analyze wrote.")],
    layers: options.Layers = None,
    methods: Annotated[
        str | None,
        typer.Option(show_default="all of the run", help="Only these of the run's methods."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="On how many of the run's images, chosen at random.")
    ] = 1000,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="as many as fit",
            help="Images a forward pass; changes no result.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", help="Processes that decode images; changes no result."),
    ] = 2,
    device: Annotated[
        str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    seed: Annotated[
        int, typer.Option(metavar="S", help="Of the choice of images and of their batches.")
    ] = 0,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH", rich_help_panel=_MOVED, help="The run's checkpoint."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(metavar="SPEC", rich_help_panel=_MOVED, help="The run's architecture."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="PATH", rich_help_panel=_MOVED, help="The run's images.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Does it matter? Replace one layer's statistics at a time and see what the output does.

    Each layer of the network is given each method's statistics, with its affine as it is and
    re-fitted; KL divergence, agreement and accuracy go to validation.csv in the run's folder.

    Examples:

      normstats validate runs/resnet50

      normstats validate runs/resnet50 --layers 'layer4.*' --methods bn@2,bn@8,ln --limit 200
    """
    options.at_least(2, limit, "--limit")
    options.at_least(0, workers, "--workers")
    if batch_size is not None:
        options.at_least(1, batch_size, "--batch-size")
    chosen = None if methods is None else options.methods(methods)

    from normstats.capturing import resolve_device
    from normstats.study import open_study
    from normstats.validation import Experiment
    from normstats_cli.reopening import reopen
    from normstats_reports.validation import print_validation, print_validation_json

    study = open_study(run)
    target = resolve_device(device)
    with working("Loading the network", quiet=quiet):
        source = reopen(study, run, checkpoint=checkpoint, arch=arch, images=images)
    for text in source.notes:
        note(text, quiet=quiet)
    with working("Reading the images", quiet=quiet):
        experiment = Experiment(
            study,
            source.model,
            source.batches(workers),
            layers=layers,
            methods=chosen,
            limit=limit,
            batch_size=batch_size,
            seed=seed,
            device=target,
            channel_dim=source.channel_dim,
        )
    note(_in_words(experiment.estimate), quiet=quiet)
    with progress("Validating", experiment.estimate.passes, quiet=quiet) as tell:
        validation = experiment.run(tell)
    study.parts["validation"] = validation.part()
    keep(study, run)
    if json:
        print_validation_json(results(), validation)
    else:
        print_validation(results(), validation)
    note(f"Kept in {run}.", quiet=quiet)


def _in_words(estimate: Estimate) -> str:
    seconds = estimate.seconds
    about = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
    return (
        f"{estimate.images:,} images ({max(estimate.megabytes, 1):.0f} MB in memory), "
        f"{estimate.layers} layers, {estimate.passes:,} forward passes: about {about}. "
        "Fewer with --limit, --layers or --methods."
    )
