"""A cache of the tests' own, so that they neither use nor fill the user's; and no timm."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NORMSTATS_CACHE", str(folder))
        yield folder


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognition among torchvision's architectures alone, which is quick."""
    monkeypatch.setitem(sys.modules, "timm", None)
