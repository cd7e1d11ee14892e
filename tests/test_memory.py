"""Peak memory of a capture grows by the moments, and by nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each batch makes 64 MB of maps; its moments are 2 kB.
SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
import normstats as ns

torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
batches = (torch.randn(16, 3, 128, 128) for _ in range(int(sys.argv[1])))
moments = ns.capture(model, batches)
assert moments.images == 16 * int(sys.argv[1])
# Not ru_maxrss: a child begins with that of the process it was forked from.
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


def peak_megabytes(batches: int) -> int:
    command = [sys.executable, "-c", SCRIPT, str(batches)]
    # Maps go back to the system at once: what is held is measured, not how the heap is cut up.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read in /proc")
def test_peak_memory_does_not_grow_with_the_images() -> None:
    few, many = peak_megabytes(6), peak_megabytes(60)
    # 54 batches more would be 3.4 GB of maps; one of 64 MB may be freed a little later or not.
    assert many <= few + 80
