"""What a user can get wrong: exit 2, what, why and how to mend it, and nothing half-written."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import networks
from helpers.refusals import assert_no_run
from PIL import Image

import normstats as ns

NETWORKS = Path(networks.__file__)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint and 24 images, where the program is started."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": networks.small().state_dict()}, tmp_path / "net.pth")
    rng = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "images" / ("cat" if index % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


@pytest.fixture
def analyze(normstats: Callable[..., Any], place: Path) -> Callable[..., Any]:
    """``normstats analyze`` with good arguments, but for those given; None leaves one out."""

    def call(checkpoint: object = "net.pth", **options: object) -> Any:
        given = {
            "images": "images",
            "arch": f"{NETWORKS}:small",
            "out": "run",
            "methods": "bn@2,bn@4,ln,gn:2",
            "workers": 0,
        } | options
        flags = [
            part
            for name, value in given.items()
            if value is not None
            for part in (f"--{name.replace('_', '-')}", *([] if value is True else [value]))
        ]
        return normstats("analyze", checkpoint, *flags)

    return call


def assert_refused(outcome: Any, *words: str) -> None:
    """One message with a hint, no traceback, no result, no run folder."""
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    assert [line[:7] for line in outcome.err.splitlines()].count("Error: ") == 1
    assert "Hint: " in outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
    assert_no_run(Path("run"), outcome.err)


def test_good_input_is_fine(analyze: Callable[..., Any], place: Path) -> None:
    outcome = analyze()
    assert outcome.status == 0, outcome.err
    study = ns.open_study("run")
    assert study.provenance["images"] == 24
    assert study.moments.classes == ("cat", "dog")


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_run",)


def _write(name: str, content: bytes) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        (place / name).write_bytes(content)
        return name

    return make


def _cut(place: Path) -> str:
    whole = (place / "net.pth").read_bytes()
    (place / "cut.pth").write_bytes(whole[: len(whole) // 2])
    return "cut.pth"


def _pickle(place: Path) -> str:
    (place / "evil.pkl").write_bytes(pickle.dumps({"state_dict": Payload()}))
    return "evil.pkl"


def _evil_zip(place: Path) -> str:
    torch.save({"state_dict": Payload()}, place / "evil.pth")
    return "evil.pth"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: "missing.pth", ["missing.pth"]),
        (lambda place: "images", ["folder"]),
        (_write("empty.pth", b""), ["empty"]),
        (_write("notes.txt", b"dear diary"), ["notes.txt"]),
        (_write("page.pth", b"<!DOCTYPE html><html>404</html>"), ["page.pth"]),
        (_cut, ["cut.pth"]),
        (_pickle, ["mkdir", "state_dict"]),
        (_evil_zip, ["mkdir", "state_dict"]),
    ],
    ids=["missing", "folder", "empty", "text", "html", "cut", "pickle", "zip"],
)
def test_what_is_no_checkpoint(
    analyze: Callable[..., Any],
    place: Path,
    make: Callable[[Path], str],
    words: list[str],
) -> None:
    assert_refused(analyze(make(place)), *words)
    assert not (place / "was_run").exists()


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("resnet18", ["102 weights missing", "0.weight", "bn1.weight"]),
        ("resnet_18", ["resnet18"]),
        ("nowhere.py:net", ["nowhere.py"]),
        (f"{NETWORKS}:smal", ["smal", "small"]),
        (f"{NETWORKS}:needs_size", ["size"]),
        (f"{NETWORKS}:not_a_module", ["str"]),
        (f"{NETWORKS}:raises", ["no weights today"]),
        ("no.such.package:net", ["no"]),
        (None, ["--arch"]),
    ],
)
def test_architectures(analyze: Callable[..., Any], arch: str | None, words: list[str]) -> None:
    assert_refused(analyze(arch=arch), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "nowhere"}, ["nowhere"]),
        ({"images": "net.pth"}, ["net.pth"]),
        ({"methods": "bn@x"}, ["bn@x", "bn@B"]),
        ({"methods": "gn:0"}, ["gn:0"]),
        ({"methods": "gn:5"}, ["5 groups do not divide"]),
        ({"methods": ","}, ["No method"]),
        ({"layers": "2"}, ["No layer matches '2'"]),
        ({"layers": "layer4.*"}, ["1, 4"]),
        ({"device": "cuda:99"}, ["cuda:99", "cpu"]),
        ({"device": "warp"}, ["warp"]),
        ({"limit": -1}, ["-1"]),
        ({"limit": 0}, ["0"]),
        ({"limit": 1}, ["one image"]),
        ({"batch_size": 0}, ["--batch-size 0"]),
        ({"workers": -1}, ["--workers -1"]),
        ({"resize": -5}, ["resize"]),
        ({"crop": 64}, ["64"]),
        ({"mean": "a,b,c"}, ["--mean"]),
        ({"std": "0,0,0"}, ["std"]),
        ({"out": "net.pth/run"}, ["net.pth"]),
    ],
    ids=str,
)
def test_options(analyze: Callable[..., Any], options: dict[str, Any], words: list[str]) -> None:
    assert_refused(analyze(**options), *words)


def test_empty_folder(analyze: Callable[..., Any], place: Path) -> None:
    (place / "nothing").mkdir()
    assert_refused(analyze(images="nothing"), "nothing", "no files")
    (place / "nothing" / "readme.md").write_text("soon")
    assert_refused(analyze(images="nothing"), ".md")


def test_a_single_image(analyze: Callable[..., Any], place: Path) -> None:
    (place / "one").mkdir()
    shutil.copy(place / "images" / "cat" / "1.png", place / "one")
    assert_refused(analyze(images="one"), "one image")


def test_images_of_two_sizes(analyze: Callable[..., Any], place: Path) -> None:
    Image.new("RGB", (20, 10)).save(place / "images" / "cat" / "9.png")
    assert_refused(analyze(), "20x10", "--resize")
    assert analyze(resize=12, crop=12).status == 0


def test_an_existing_run(analyze: Callable[..., Any], place: Path) -> None:
    assert analyze().status == 0
    before = (place / "run" / "errors.csv").read_bytes()
    outcome = analyze(methods="ln")
    assert outcome.status == 2
    assert "--force" in outcome.err
    assert (place / "run" / "errors.csv").read_bytes() == before
    assert analyze(methods="ln", force=True).status == 0
    assert set(ns.open_study("run").errors()["method"]) == {"ln"}
    outcome = analyze(out="images", force=True)
    assert outcome.status == 2
    assert "not a run" in outcome.err
    assert len(list((place / "images").rglob("*.png"))) == 24


def test_refusals_come_before_the_work(analyze: Callable[..., Any], place: Path) -> None:
    """A run folder or method that cannot be is told before the checkpoint is even read."""
    (place / "run").mkdir()
    (place / "run" / "mine").write_text("")
    assert "not a run" in analyze("missing.pth").err
    assert "bn@x" in analyze("missing.pth", methods="bn@x", out="other").err


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_among_good_ones(
    analyze: Callable[..., Any], place: Path, workers: int
) -> None:
    same = {"workers": workers, "batch_size": 8, "memory_format": "contiguous"}
    good = analyze(out="good", **same)
    assert good.status == 0
    (place / "images" / "cat" / "3b.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    outcome = analyze(**same)
    assert outcome.status == 0
    assert "1 of 25 images could not be read" in outcome.err
    assert "cat/3b.png" in outcome.err
    skipped = ns.open_study("run").provenance["images_from"]["skipped"]
    assert list(skipped) == ["cat/3b.png"]
    assert Path("run/errors.csv").read_bytes() == Path("good/errors.csv").read_bytes()


def test_a_layer_with_nan_is_left_out_and_named(analyze: Callable[..., Any], place: Path) -> None:
    torch.save(networks.breaks().state_dict(), place / "breaks.pth")
    outcome = analyze("breaks.pth", arch=f"{NETWORKS}:breaks")
    assert outcome.status == 0, outcome.err
    assert "bad is left out" in outcome.out
    assert set(ns.open_study("run").errors()["layer"]) == {"good"}
    assert "24 of 24 images" in ns.open_study("run").left_out["bad"]


def test_layers_lists_what_would_be_captured(normstats: Callable[..., Any], place: Path) -> None:
    outcome = normstats("layers", "net.pth", "--arch", f"{NETWORKS}:small", "--size", 32)
    assert outcome.status == 0, outcome.err
    assert "BatchNorm2d" in outcome.out
    assert "2 of 2 layers" in outcome.out


def test_a_run_that_is_none(normstats: Callable[..., Any], place: Path) -> None:
    for folder in ("nowhere", "images"):
        outcome = normstats("show", folder)
        assert outcome.status == 2
        assert folder in outcome.err


def test_a_defect_is_told_from_a_mistake(
    analyze: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normstats.study.compute_tables", lambda *_: 1 / 0)
    outcome = analyze()
    assert outcome.status == 1
    assert "NORMSTATS_DEBUG" in outcome.err
    assert "Traceback" not in outcome.err


def test_more_than_one_broken_image_in_twenty(analyze: Callable[..., Any], place: Path) -> None:
    for index in range(2):
        (place / "images" / "cat" / f"{index}b.png").write_bytes(b"not a picture")
    assert_refused(analyze(), "5 % of the 26 images", "0b.png", "--allow-bad")
    outcome = analyze(allow_bad=True)
    assert outcome.status == 0, outcome.err
    assert ns.open_study("run").provenance["images"] == 24


def test_an_array_of_images(analyze: Callable[..., Any], place: Path) -> None:
    pixels = [np.asarray(Image.open(path)) for path in sorted((place / "images").rglob("*.png"))]
    np.save(place / "images.npy", np.stack(pixels))
    assert analyze().status == 0
    outcome = analyze(images="images.npy", out="array")
    assert outcome.status == 0, outcome.err
    assert Path("array/errors.csv").read_bytes() == Path("run/errors.csv").read_bytes()


def test_recognised_without_arch(analyze: Callable[..., Any], place: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), place / "mystery.pt")
    outcome = analyze("mystery.pt", arch=None, resize=40, crop=32, layers="layer1.*")
    assert outcome.status == 0, outcome.err
    assert "torchvision:resnet18" in outcome.err
    assert ns.open_study("run").provenance["checkpoint"]["arch"] == "torchvision:resnet18"
    assert "resize 40 (bilinear), crop 32" in outcome.out
