"""Studies to make pages of: an ordinary one, one whose names attack the page, a large one."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from helpers.enumeration import make_pixels, moments_of

import normstats as ns
from normstats.parts import Part

METHODS = ["bn@1", "bn@2", "bn@8", "bn@32", "in", "gn:2", "gn:4", "ln", "running"]
MANY_METHODS = [
    "bn@1",
    "bn@2",
    "bn@4",
    "bn@8",
    "bn@16",
    "bn@32",
    "bn@64",
    "in",
    "gn:2",
    "gn:4",
    "gn:8",
    "ln",
    "bgn@2:4",
    "running",
]
HOSTILE = "</script><img src=x onerror=alert(1)>"
HOSTILE_QUOTED = "\"><svg onload=alert(2)>'{{ 7*7 }}"


def make_study(
    names: tuple[str, ...] = ("stem", "body.0", "body.1", "head"),
    methods: list[str] = METHODS,
) -> ns.Study:
    """Four layers of eight channels, one of them dead, with all that can be asked of them."""
    stored = {"running_mean": np.zeros(8), "running_variance": np.ones(8)}
    layers = {}
    for seed, name in enumerate(names):
        pixels = make_pixels(40, 8, seed=seed)
        if seed == 0:
            pixels[:, 3] = 1.5
        layers[name] = moments_of(pixels, kind="BatchNorm2d", **stored)
    moments = ns.Moments(
        layers,
        labels=np.arange(40) % 4,
        classes=("a", "b", "c", names[0]),
        left_out={f"{names[0]}.left": "it never ran"},
        provenance={
            "checkpoint": {"path": f"nets/{names[0]}.th", "sha256": "c0ffee"},
            "images_from": {"path": f"images/{names[0]}", "sha256": "feed", "skipped": {}},
            "command": ["normstats", "analyze", names[0]],
            "versions": {"normstats": "0.1.0"},
            "device": "cpu",
        },
    )
    study = ns.analyze(moments, methods, draws=64)
    study.ask("grouping", groups=[4])
    study.ask("plane", batches=[1, 2, 8])
    study.ask("composition", batches=[2, 8])
    study.ask("mixing", others="running,gn:2", batches=[2, 8])
    return study


def validated(study: ns.Study) -> ns.Study:
    """The study with a validation that measured what was predicted, and a little else."""
    errors = study.errors()
    table = errors[["layer", "method", "error", "residual"]].assign(
        kl=errors["error"] * 2,
        agreement=1 - errors["error"].clip(upper=0.5),
        accuracy=0.9 - errors["error"].clip(upper=0.5),
        kl_refit=errors["residual"] * 3,
        agreement_refit=1 - errors["residual"].clip(upper=0.5),
        accuracy_refit=np.nan,
    )
    correlations = {
        "error_within_layers": 0.96,
        "residual_within_layers": 0.91,
        "error_overall": 0.88,
        "residual_overall": None,
        "layers": errors["layer"].nunique(),
    }
    about = {"correlations": correlations, "accuracy": 0.9, "images": 32}
    part = Part({"limit": 32}, {"validation": table}, about)
    return replace(study, parts={**study.parts, "validation": part})


def make_large_study(small: ns.Study, layers: int, channels: int) -> ns.Study:
    """A study with as many rows as one of a large network, and as many different digits."""
    rng = np.random.default_rng(0)
    first = small.layers()["layer"].iloc[0]
    names = [f"layer{i // 12}.{i % 12}.bn1" for i in range(layers)]

    def many(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["layer"] == first]
        tiled = pd.concat([rows.assign(layer=name) for name in names], ignore_index=True)
        for column in tiled.select_dtypes(np.floating):
            tiled[column] *= rng.lognormal(sigma=0.3, size=len(tiled))
        return tiled

    tables = small.tables
    per_layer = -(-channels // layers)
    rows = tables.channels[tables.channels["layer"] == first]
    wide = pd.concat([rows] * (-(-per_layer // len(rows))), ignore_index=True)[:per_layer]
    wide["channel"] = np.arange(per_layer)
    return replace(
        small,
        tables=replace(
            tables,
            errors=many(tables.errors),
            layers=many(tables.layers),
            crossovers=many(tables.crossovers),
            channels=many(wide),
        ),
        parts={
            name: replace(part, tables={key: many(table) for key, table in part.tables.items()})
            for name, part in small.parts.items()
        },
    )


class Outline(HTMLParser):
    """What a browser would make of a page: its elements, its ids and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())
