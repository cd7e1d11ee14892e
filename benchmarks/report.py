"""How long the page of a run takes to draw, against the analysis it shows, and how large it is.

    python benchmarks/report.py
    python benchmarks/report.py --full    # with the answers to all further questions

Of the demo (13 layers, 1,797 images) and of moments that are made up, with the layers of a
ResNet-50 (53 layers, 26,560 channels).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import analysis
from measuring import arguments, median, ratio, show

import normstats as ns
from normstats.demo import demo_images, demo_model


def measure(
    moments: ns.Moments, *, full: bool, repetitions: int
) -> tuple[dict[str, list[float]], int]:
    """Seconds of the analysis and of the page after it, and the page's bytes."""
    taken: dict[str, list[float]] = {"analysis": [], "page": []}
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        for repetition in range(1 + repetitions):  # the first one warms up
            start = time.perf_counter()
            study = ns.analyze(moments)
            for part in study.askable() if full else ():
                study.ask(part)
            analyzed = time.perf_counter()
            study.to_html(page)
            if repetition:
                taken["analysis"].append(analyzed - start)
                taken["page"].append(time.perf_counter() - analyzed)
        return taken, page.stat().st_size


def row(name: str, moments: ns.Moments, taken: dict[str, list[float]], size: int) -> Sequence[str]:
    """Of the table."""
    return [
        *(name, f"{len(moments)}", f"{moments.images:,}"),
        *(f"{median(taken, 'analysis'):.1f}", f"{median(taken, 'page'):.2f}"),
        *(ratio(taken, "page", "analysis"), f"{size / 1e6:.2f}"),
    ]


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--full", action="store_true", help="ask all further questions before")
    parser.add_argument("--images", type=int, default=500, help="of the moments that are made up")
    options = parser.parse_args()
    digits = demo_images()
    runs = {
        "demo": ns.capture(demo_model(), digits, classes=digits.dataset.classes),
        "made up": analysis.network(options.images, analysis.resnet50()),
    }
    show(
        "The page of a run with all answers" if options.full else "The page of a run",
        ["run", "layers", "images", "analysis, s", "page, s", "page / analysis", "page, MB"],
        [
            row(name, run, *measure(run, full=options.full, repetitions=options.repetitions))
            for name, run in runs.items()
        ],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
