"""The real network and images that stand beside the checkout, where they are there."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "resnet20-cifar10"
CHECKPOINT = DATA / "resnet20-12fca82f.th"
IMAGES = DATA / "images"
ARCH = f"{ROOT / 'tests' / 'helpers' / 'cifar_resnet.py'}:resnet20"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
