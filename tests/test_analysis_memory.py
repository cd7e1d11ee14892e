"""What an analysis takes: two copies of a layer as it was captured, and no more for more layers."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import normstats as ns
from normstats import layerwise
from normstats.moments import LazyLayers

def read(name, images=20_000, channels=512):
    rng = np.random.default_rng(int(name))
    mean = rng.standard_normal((images, channels), np.float32)
    variance = rng.random((images, channels), np.float32)
    return ns.LayerMoments(mean, variance, spatial=(7, 7))

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

layerwise.cpu_count = lambda: 1
ns.analyze(ns.Moments({"small": read("0", 64, 64)}))
before = peak()
layers = {str(i): (20_000, 512) for i in range(int(sys.argv[1]))}
ns.analyze(ns.Moments(LazyLayers(layers, read)))
print(peak() - before)
"""
LAYER = 20_000 * 512 * 2 * 4 / 2**20  # as float32: 78 MB


def peak_megabytes(layers: int) -> int:
    command = [sys.executable, "-c", SCRIPT, str(layers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read in /proc")
def test_peak_memory_is_that_of_one_layer() -> None:
    one, several = peak_megabytes(1), peak_megabytes(5)
    assert one <= 2 * LAYER + 60
    assert several <= one + 20
