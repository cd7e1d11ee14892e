"""A cache of the tests' own, so that they neither use nor fill the user's; extras; a browser."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NORMSTATS_CACHE", str(folder))
        yield folder


@pytest.fixture
def timm() -> Any:
    """The package; without it, the test skips."""
    return pytest.importorskip("timm", reason="timm is an extra")


@pytest.fixture
def datasets() -> Any:
    """The package; without it, the test skips."""
    return pytest.importorskip("datasets", reason="needs the extra hf")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that want packages of extras: .ci/run comes back to them with these."""
    for item in items:
        if not {"timm", "datasets"}.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.extra)


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognition among torchvision's architectures alone, which is quick."""
    monkeypatch.setitem(sys.modules, "timm", None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, started once for a file of tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this system")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
