"""The further parts of a study in the terminal: grouping, plane, composition and mixing."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from normstats.findings import SIGNIFICANT
from normstats.plane import best_at
from normstats.printable import printable
from normstats.study import Study
from normstats_reports.terminal import bullets, compact, heading, light_table


def print_grouping(console: Console, study: Study) -> None:
    """Index groups against random ones, layer by layer, and what each arrangement costs."""
    tests, arrangements = study.grouping(), study.arrangements()
    for groups, rows in tests.groupby("groups"):
        console.print(
            heading(f"{groups} groups", "are channels of a group more alike than chance?")
        )
        table = light_table(
            "layer",
            "C",
            "bias²\nby index",
            "bias²\nat random",
            "p",
            "q",
            "bias²\nsaved",
            "error\nsaved",
            "residual\nsaved",
        )
        for row in rows.to_dict("records"):
            saved = (f"{row[f'{what}_saved']:.0%}" for what in ("bias_sq", "error", "residual"))
            table.add_row(
                Text(printable(row["layer"])),
                str(row["channels"]),
                compact(row["index_bias_sq"]),
                f"{compact(row['random_bias_sq_low'])} - {compact(row['random_bias_sq_high'])}",
                compact(row["p_value"]),
                compact(row["q_value"]),
                *saved,
                style="bold" if row["q_value"] < SIGNIFICANT else None,
            )
        console.print(table)
        console.print(heading("How channels are put into groups", "means over layers"))
        table = light_table("arrangement", "bias²", "error", "residual")
        chosen = arrangements[arrangements["groups"] == groups]
        means = chosen.groupby("arrangement", sort=False)[["bias_sq", "error", "residual"]].mean()
        for name, values in means.iterrows():
            table.add_row(str(name), *map(compact, values))
        console.print(table)
    _note(
        console,
        f"Bold: q < {SIGNIFICANT}. Saved: by the best groups found, on the same images. "
        "random: the random arrangement of median bias.",
    )


def print_plane(console: Console, study: Study, batch: int) -> None:
    """The best cell of each layer for a batch, and where it is better than BatchNorm."""
    best = best_at(study.plane(), batch)
    for quantity, rows in best.groupby("quantity", sort=False):
        what = "whole error" if quantity == "error" else "what γ, β cannot undo"
        console.print(heading(f"The best cell with a batch of {batch}", what))
        table = light_table(
            "layer", "C", "images", "channels\na group", "method", str(quantity), "BatchNorm"
        )
        for row in rows.to_dict("records"):
            table.add_row(
                Text(printable(row["layer"])),
                str(row["channels"]),
                str(row["batch"]),
                str(row["group_channels"]),
                row["named"] or f"bgn@{row['batch']}:{row['groups']}",
                compact(row[str(quantity)]),
                compact(row["batch_norm"]),
            )
        console.print(table)


def print_composition(console: Console, study: Study) -> None:
    """How much lies between classes, and what it does to batches that are not iid."""
    console.print(heading("Between classes", "shares of the variance between images"))
    table = light_table(
        "layer", "C", "share", "corrected", "floor of single-\nclass batches", "floor\nby chance"
    )
    for row in study.classes().to_dict("records"):
        shares = (f"{row[name]:.1%}" for name in ("between_class_share", "corrected_share"))
        floors = (compact(row[name]) for name in ("floor", "floor_by_chance"))
        table.add_row(Text(printable(row["layer"])), str(row["channels"]), *shares, *floors)
    console.print(table)
    console.print(heading("BatchNorm's error by composition of the batch", "means over layers"))
    means = study.composition().groupby(["composition", "batch"], sort=False)
    table = light_table("composition", "batch", "error", "against iid", "residual")
    for (name, batch), rows in means:
        ratio = compact(rows["error_relative_to_iid"].mean())
        values = (compact(rows["error"].mean()), ratio, compact(rows["residual"].mean()))
        table.add_row(str(name), str(batch), *values)
    console.print(table)


def print_mixing(console: Console, study: Study) -> None:
    """The best mixes with BatchNorm: over layers, then layer by layer."""
    known = study.mixing()
    known = known[known["error"].notna()]
    console.print(heading("BatchNorm mixed with another method", "medians over layers"))
    columns = ("share_of_other", "pseudo_samples", "error", "error_of_batch_norm", "error_of_other")
    table = light_table(
        "with",
        "batch",
        "its share",
        "worth\nimages",
        "error",
        "BatchNorm\nalone",
        "other\nalone",
        "saved",
        "layers",
    )
    for (other, batch), rows in known.groupby(["other", "batch"], sort=False):
        values = [compact(rows[column].median()) for column in columns]
        saved = f"{rows['saving'].median():.0%}"
        table.add_row(str(other), str(batch), *values, saved, str(len(rows)))
    console.print(table)
    table = light_table("layer", "with", "batch", "its share", "error", "saved", left=2)
    for row in known.to_dict("records"):
        table.add_row(
            Text(printable(row["layer"])),
            str(row["other"]),
            str(row["batch"]),
            compact(row["share_of_other"]),
            compact(row["error"]),
            f"{row['saving']:.0%}",
        )
    console.print(heading("Layer by layer"))
    console.print(table)


def print_notes(console: Console, study: Study, part: str) -> None:
    """What of a part could not be had."""
    notes = study.parts[part].notes
    if notes:
        console.print(heading("Left out"))
        console.print(bullets(notes))


def _note(console: Console, text: str) -> None:
    console.print(Text(f" {text}", style="dim"))
