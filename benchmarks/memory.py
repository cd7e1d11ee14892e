"""Whether the memory that a capture takes grows with the number of images.

    python benchmarks/memory.py

JPEGs of noise and gradients through a network of random weights into a folder, part by part, as
``normstats analyze`` does it, always in the same batches, decoded in the same process. *Capture*:
the largest resident set of a process of its own up to the end of the capture, the program and
PyTorch included. *With analysis*: up to the end of the analysis by default, layer by layer, of what
was captured. *Moments*: what lies on the disk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measuring import (
    arguments,
    in_a_process,
    median,
    network,
    peak_memory,
    ratio,
    show,
    write_jpegs,
)

IMAGES = (500, 1000, 5000)
SIZE, BATCH = 64, 16


def measure(arch: str, images: Path, count: int) -> dict[str, float]:
    """Megabytes, in this process."""
    import normstats as ns
    from normstats.capture_folder import IMAGES_A_PART, CaptureFolder
    from normstats.capturing import Capturer, capture_parts
    from normstats.inputs.images import open_images

    with tempfile.TemporaryDirectory() as place:
        pictures = open_images(images, resize=SIZE, crop=SIZE, limit=count)
        folder = CaptureFolder(Path(place), {}, len(pictures), IMAGES_A_PART, {})
        folder.begin()
        parts = range(len(folder.ranges()))
        capture_parts(Capturer(network(arch, SIZE)), pictures, folder, parts, batch_size=BATCH)
        moments = folder.finish(folder.whole(), {})
        capture = peak_memory()
        ns.analyze(moments)
        stored = sum(file.stat().st_size for file in Path(place).iterdir()) / 2**20
    return {"capture": capture, "analysis": peak_memory(), "stored": stored}


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--images", nargs="+", type=int, default=IMAGES)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        images, count = options.measure
        print(json.dumps(measure(options.arch, Path(images), int(count))))
        return

    capture: dict[str, list[float]] = {f"{count:,}": [] for count in options.images}
    analysis: dict[str, list[float]] = {name: [] for name in capture}
    stored: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "images"
        write_jpegs(images, max(options.images), SIZE)
        command = __file__, "--arch", options.arch, "--measure", images
        for _ in range(options.repetitions):
            for name, count in zip(capture, options.images, strict=True):
                found = in_a_process(*command, str(count))
                capture[name].append(found["capture"])
                analysis[name].append(found["analysis"])
                stored[name] = found["stored"]
    fewest = next(iter(capture))
    show(
        f"Peak memory, {options.arch}, images of {SIZE} pixels in batches of {BATCH}",
        ["images", "capture, MiB", f"to {fewest} images", "with analysis, MiB", "moments, MiB"],
        [
            [
                *(name, f"{median(capture, name):,.0f}", ratio(capture, name, fewest)),
                *(f"{median(analysis, name):,.0f}", f"{stored[name]:,.0f}"),
            ]
            for name in capture
        ],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
