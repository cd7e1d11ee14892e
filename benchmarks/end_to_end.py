"""A whole ``normstats analyze`` against a loop that only runs the network.

    python benchmarks/end_to_end.py

JPEGs of noise and gradients in a temporary folder, a network of random weights in a file. Each way
is a process of its own, with its start: ``normstats analyze`` as it comes, which chooses the layout
and the batch size, captures, analyzes and draws the page; and plain_loop.py, in both layouts. A run
of a few images before compiles what is compiled once an installation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from measuring import arguments, interleaved, median, network, ratio, run, show, write_jpegs

LOOP = Path(__file__).with_name("plain_loop.py")
DEFAULT_LOOP, CHANNELS_LAST_LOOP = "loop, contiguous (default)", "loop, channels_last"


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32, help="of the loops")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        weights, images, out = folder / "weights.pth", folder / "images", folder / "run"
        torch.save(network(options.arch, 224).state_dict(), weights)
        write_jpegs(images, options.images, 256)
        workers = "--workers", str(options.workers)
        analyze = (
            *(sys.executable, "-m", "normstats", "analyze", weights, "--arch", options.arch),
            *("--images", images, "--resize", "256", "--crop", "224", *workers),
            *("--out", out, "--force", "--quiet"),
        )
        loop = (
            *(sys.executable, LOOP, weights, images, "--arch", options.arch, *workers),
            *("--batch-size", str(options.batch_size)),
        )
        ways = {
            "normstats analyze": partial(run, *analyze),
            CHANNELS_LAST_LOOP: partial(run, *loop, "--channels-last"),
            DEFAULT_LOOP: partial(run, *loop),
        }
        run(*analyze, "--limit", "16")  # compiles what is compiled once an installation
        taken = interleaved(ways, options.repetitions, warm_up=False)
        provenance = json.loads((out / "study.json").read_text(encoding="utf-8"))["provenance"]
    chosen = provenance["capture"]
    layouts = {"channels_last": CHANNELS_LAST_LOOP, "contiguous": DEFAULT_LOOP}
    same = layouts[chosen["memory_format"]]
    show(
        f"{options.images} JPEGs through {options.arch}, loops in batches of {options.batch_size}, "
        f"{options.workers} decoding processes; normstats chose {chosen['memory_format']} and "
        f"batches of {chosen['batch_size']}",
        ["way", "seconds", "to the loop in the same layout", "to the default loop"],
        [
            [
                way,
                f"{median(taken, way):.1f}",
                *(ratio(taken, way, to) for to in (same, DEFAULT_LOOP)),
            ]
            for way in ways
        ],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
