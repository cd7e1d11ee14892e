"""Pages in a browser: nothing they ask for or complain of goes unnoticed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file; whatever it asks for or complains of fails the test."""
    contexts = []
    complaints: list[str] = []

    def opening(file: Path, fragment: str = "", **context: Any) -> Any:
        def asked(url: str) -> None:
            if not url.startswith(("data:", "blob:")) and url.partition("#")[0] != file.as_uri():
                complaints.append(url)

        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri() + fragment)
        return page

    yield opening
    for context in contexts:
        context.close()
    assert complaints == []
