"""``normstats validate``: the errors of a run's statistics, put into the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normstats.errors import CheckpointError, ImagesError, NormstatsError, RunFolderError
from normstats_cli import options
from normstats_cli.console import note, progress, results, working
from normstats_cli.inputs import DEMO, Inputs, absolute, absolute_architecture
from normstats_cli.runs import keep

if TYPE_CHECKING:
    from torch import nn

    from normstats.study import Study
    from normstats.validation import Estimate

_MOVED = "Where it is now, if it has moved"
_AT_ONCE = 64  # images read


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
    from normstats_reports.validation import print_validation, print_validation_json

    study = open_study(run)
    target = resolve_device(device)
    with working("Loading the network", quiet=quiet):
        source = _open(study, run, checkpoint=checkpoint, arch=arch, images=images)
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


@dataclass(frozen=True)
class _Source:
    """The network of a run, and its images again."""

    model: nn.Module
    channel_dim: int | None
    batches: Callable[[int], Iterable[Any]]
    notes: tuple[str, ...]


def _open(
    study: Study, run: Path, *, checkpoint: str | None, arch: str | None, images: str | None
) -> _Source:
    """Load what the run was made from; what has moved is where the options say.

    Raises:
        RunFolderError: the run does not say what it was made from.
        CheckpointError: the checkpoint is another one, or missing.
        ImagesError: the images are missing.
    """
    record = study.provenance.get("inputs")
    if record == DEMO:
        return _demo(study)
    if record is None:
        raise RunFolderError(
            f"{run} does not say where its network and images are: it was not written by "
            "`normstats analyze`, or by an earlier one.",
            "Analyze again; or use normstats.validate in Python, with the network and the images.",
        )
    inputs = Inputs.from_record(record)
    if checkpoint is not None:
        inputs = replace(inputs, checkpoint=absolute(checkpoint))
    if arch is not None:
        inputs = replace(inputs, arch=absolute_architecture(arch), directory=str(Path.cwd()))
    if images is not None:
        inputs = replace(inputs, images=absolute(images))
    with _hint("If it has moved, say where it is now with --checkpoint and --arch."):
        loaded = inputs.load()
    _check_checkpoint(study, loaded.sha256)
    with _hint("If they have moved, say where they are now with --images."):
        pictures = inputs.open_images(loaded)

    def batches(workers: int) -> Iterator[Any]:
        yield from pictures.batches(_AT_ONCE, workers)
        if pictures.fingerprint != study.provenance["images_from"]["sha256"]:
            raise ImagesError(
                f"{pictures!r} are not the images of the run: their names or contents differ.",
                "Say where the images of the run are with --images, or analyze these.",
            )

    return _Source(loaded.model, inputs.channel_dim, batches, (*loaded.notes, *pictures.notes))


def _demo(study: Study) -> _Source:
    from normstats.demo import WEIGHTS, demo_images, demo_model
    from normstats.inputs import read_checkpoint

    _check_checkpoint(study, read_checkpoint(WEIGHTS).sha256)
    return _Source(demo_model(), None, lambda _: demo_images(), ())


def _check_checkpoint(study: Study, sha256: str) -> None:
    expected = study.provenance["checkpoint"]["sha256"]
    if sha256 != expected:
        raise CheckpointError(
            f"The checkpoint is not that of the run: its SHA-256 is {sha256[:12]}..., that of the "
            f"run's {expected[:12]}....",
            "Say where the checkpoint of the run is with --checkpoint, or analyze this one.",
        )


@contextmanager
def _hint(more: str) -> Iterator[None]:
    """Errors inside the block get one more hint."""
    try:
        yield
    except NormstatsError as error:
        raise type(error)(error.message, f"{error.hint} {more}") from error
