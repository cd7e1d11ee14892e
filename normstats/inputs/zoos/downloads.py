"""Files of pretrained weights, in the caches of torch.hub and Hugging Face or fetched into them."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import torch

from normstats.errors import CheckpointError
from normstats.printable import printable

_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")
_PATIENCE = 5.0  # seconds until a host that does not answer counts as out of reach


def fetch_url(url: str, description: str, arch: str) -> Path:
    """The file of that address in torch.hub's cache, downloaded where it is not there.

    Raises:
        CheckpointError: it is not there, and cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if path.exists():
        return path
    digest = _DIGEST_IN_NAME.search(path.name)
    try:
        _check_reachable(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), digest[1] if digest else None, progress=sys.stderr.isatty()
        )
    except Exception as error:  # a download fails in many ways
        raise CheckpointError(
            f"The weights {printable(description)} are not in torch's cache ({printable(path)}), "
            f"and cannot be downloaded: {_reason(error)}.",
            f"Download {url} elsewhere and put it there, or give the file: "
            f"normstats analyze {path.name} --arch {arch}",
        ) from error
    return path


def is_original(path: Path, sha256: str) -> bool:
    """Whether a file has the SHA-256 whose first digits stand in its name, if any do."""
    digits = _DIGEST_IN_NAME.search(path.name)
    return digits is None or sha256.startswith(digits[1])


def fetch_from_hub(repository: str, file_names: Sequence[str], description: str, arch: str) -> Path:
    """The first of some files that a Hugging Face repository has, from the cache where it is there.

    Args:
        repository: ``user/name`` or ``user/name@revision``.
        file_names: in it; the best first.
        description: of what is fetched, for messages.
        arch: that goes with the file, for messages.

    Raises:
        CheckpointError: there is none, or it is not in the cache and cannot be downloaded.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    problem: Exception | None = None
    for local, file_name in product((True, False), file_names):
        found = _hub_file(repository, file_name, local=local)
        if isinstance(found, Path):
            return found
        problem = found
        lacks_it = isinstance(found, EntryNotFoundError)
        if not lacks_it or (isinstance(found, LocalEntryNotFoundError) and not local):
            break  # no repository, no permission, no network
    name = repository.partition("@")[0]
    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    raise CheckpointError(
        f"The weights {printable(description)} are not in Hugging Face's cache "
        f"({' or '.join(file_names)} in {printable(folder)}), and cannot be downloaded: "
        f"{_reason(problem)}.",
        f"Download {constants.ENDPOINT}/{printable(name)} elsewhere, and give its file of weights: "
        f"normstats analyze FILE --arch {printable(arch)}",
    ) from problem


def _hub_file(repository: str, file_name: str, *, local: bool) -> Path | Exception:
    """A file of a repository: from the cache alone, or else from the network; or why not."""
    from huggingface_hub import constants, hf_hub_download

    name, _, revision = repository.partition("@")
    try:
        if not local and not constants.HF_HUB_OFFLINE:
            _check_reachable(constants.ENDPOINT)
        return Path(
            hf_hub_download(name, file_name, revision=revision or None, local_files_only=local)
        )
    except Exception as error:  # the hub, the network and the disk fail in many ways
        return error


def misplaced(path: Path, description: str, error: Exception) -> CheckpointError:
    """The error for a file in a cache that holds something else than its name says."""
    return CheckpointError(
        f"{printable(path)} does not hold the weights {printable(description)}: {_reason(error)}.",
        "Delete it, and it will be downloaded again.",
    )


@contextmanager
def weights_only() -> Iterator[None]:
    """Within it, torch.load unpickles no code, whatever it is asked for: zoos ask for anything."""
    settings = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_reachable(url: str) -> None:
    """Raise OSError within seconds where a host is out of reach; a download may try for minutes."""
    if urllib.request.getproxies():  # then the proxy is asked, and it alone knows
        return
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    problems: list[OSError] = [TimeoutError(f"{parts.hostname} does not answer")]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=_PATIENCE).close()
            problems.clear()
        except OSError as error:
            problems[:] = [error]

    # Looking up the name cannot be given a time limit, hence the thread.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(2 * _PATIENCE)
    if problems:
        raise problems[0]


def _reason(error: BaseException | None) -> str:
    told = printable(str(error).strip().partition("\n")[0][:300])
    return told.rstrip(".:") or type(error).__name__
