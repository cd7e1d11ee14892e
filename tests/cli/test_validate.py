"""``normstats validate``, as a user runs it on a run that lies there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import networks
from helpers.pictures import paint
from helpers.shared import ARCH, CHECKPOINT, IMAGES, needs_data
from PIL import Image

import normstats as ns
from normstats.validation import validate
from normstats_cli.inputs import absolute, absolute_architecture

METHODS = "bn@2,bn@4,ln,gn:2,gn:4,in"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normstats: Callable[..., Any]) -> Path:
    """A folder with a run whose checkpoint, code and images have relative names."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": networks.small(classes=2).state_dict()}, "net.pth")
    source = Path(networks.__file__).read_text()
    Path("code.py").write_text(f"{source}\n\ndef two():\n    return small(2)\n")
    rng = np.random.default_rng(0)
    for index in range(24):
        folder = Path("images") / ("cat" if index % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    outcome = normstats(
        *("analyze", "net.pth", "--arch", "code.py:two", "--images", "images", "--out", "run"),
        *("--methods", METHODS, "--workers", 0, "--limit", 20, "--seed", 3),
        *("--resize", 12, "--crop", 10, "--mean", "0.5,0.4,0.3", "--std", "0.2,0.2,0.2"),
    )
    assert outcome.status == 0, outcome.err
    return tmp_path


@pytest.fixture
def check(normstats: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *options: normstats("validate", "run", "--workers", 0, *options)


def test_a_run_is_validated_from_another_folder(
    normstats: Callable[..., Any], place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    outcome = normstats("validate", place / "run", "--limit", 16, "--workers", 0)
    assert outcome.status == 0, outcome.err
    assert "16 images" in outcome.err
    assert "2 layers, 26 forward passes: about" in outcome.err
    for words in ("gn:4", "KL", "accuracy", "Spearman"):
        assert words in outcome.out

    table = pd.read_csv(place / "run" / "validation.csv", dtype={"layer": str})
    study = ns.open_study(place / "run")
    part = study.parts["validation"]
    about = {**part.about, "settings": part.settings}
    assert "damage" in {finding.claim for finding in study.findings}
    assert list(table.columns) == [
        *("layer", "method", "error", "residual", "kl", "agreement", "accuracy"),
        *("kl_refit", "agreement_refit", "accuracy_refit"),
    ]
    assert set(zip(table["layer"], table["method"], strict=True)) == {
        (layer, method) for layer in ("1", "4") for method in METHODS.split(",")
    }
    assert about["images"] == 16
    assert about["settings"] == {"limit": 16, "seed": 0}
    within = [
        rows[["error", "kl"]].corr("spearman").iloc[0, 1] for _, rows in table.groupby("layer")
    ]
    assert about["correlations"]["error_within_layers"] == pytest.approx(np.mean(within))


def test_json_has_the_correlations_and_every_row(check: Callable[..., Any], place: Path) -> None:
    outcome = check("--json", "--quiet", "--limit", 12, "--layers", "4", "--methods", "bn@2,ln,in")
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    result = json.loads(outcome.out)
    assert set(result["correlations"]) == {
        *("error_within_layers", "residual_within_layers"),
        *("error_overall", "residual_overall", "layers"),
    }
    assert [row["method"] for row in result["validation"]] == ["bn@2", "ln", "in"]
    assert 0 <= result["accuracy"] <= 1
    assert -1 <= result["correlations"]["error_within_layers"] <= 1

    few = json.loads(check("--json", "--quiet", "--methods", "bn@2,ln").out)
    assert few["correlations"]["error_within_layers"] is None
    assert "cannot be told" in check("--methods", "bn@2,ln").out


def test_what_has_moved_is_found_where_the_options_say(
    check: Callable[..., Any], place: Path
) -> None:
    good = check("--json", "--quiet")
    for old, new in (("net.pth", "new.pth"), ("code.py", "new.py"), ("images", "pictures")):
        Path(old).rename(new)
    for option, words in (
        ("--checkpoint", "net.pth"),
        ("--arch", "code.py"),
        ("--images", "images"),
    ):
        found = ["--checkpoint", "new.pth", "--arch", "new.py:two", "--images", "pictures"]
        at = found.index(option)
        outcome = check(*found[:at], *found[at + 2 :])
        assert outcome.status == 2
        assert words in outcome.err
        assert f"with {option}" in outcome.err or f"and {option}" in outcome.err, outcome.err
    moved = check("--json", "--quiet", *found)
    assert moved.status == 0, moved.err
    assert moved.out == good.out


def test_another_checkpoint_or_other_images_are_refused(
    check: Callable[..., Any], place: Path
) -> None:
    paint(next(Path("images").rglob("*.png")), 7, (16, 20))
    outcome = check()
    assert outcome.status == 2
    assert "names or contents differ" in outcome.err
    assert "--images" in outcome.err

    torch.manual_seed(5)
    torch.save(networks.small(classes=2).state_dict(), "other.pth")
    outcome = check("--checkpoint", "other.pth")
    assert outcome.status == 2
    assert "not that of the run" in outcome.err
    assert not Path("run/validation.csv").exists()


def test_other_code_is_noticed_by_its_moments(check: Callable[..., Any], place: Path) -> None:
    code = Path("code.py").read_text()
    Path("code.py").write_text(
        code.replace("nn.Conv2d(8, 12, 3)", "nn.Conv2d(8, 12, 3, padding=1)")
    )
    outcome = check()
    assert outcome.status == 2
    assert "not the network and the images of the moments: at 4" in outcome.err


def test_a_run_that_does_not_say_its_inputs_is_refused(
    check: Callable[..., Any], place: Path
) -> None:
    about = json.loads(Path("run/study.json").read_text())
    del about["provenance"]["inputs"]
    Path("run/study.json").write_text(json.dumps(about))
    outcome = check()
    assert outcome.status == 2
    assert "does not say where its network and images are" in outcome.err
    for flag, value in (("--limit", 1), ("--workers", -1), ("--batch-size", 0)):
        assert check(flag, value).status == 2
    shutil.rmtree("run")
    assert check().status == 2


def test_python_and_command_line_agree(normstats: Callable[..., Any], tmp_path: Path) -> None:
    """On the embedded network, whose run needs no files."""
    from normstats.demo import demo_images, demo_model

    run = tmp_path / "run"
    assert normstats("demo", "--out", run, "--quiet").status == 0
    options = {"limit": 100, "layers": "layer3.1.*", "methods": "bn@2,bn@8,in,ln"}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    outcome = normstats("validate", run, *flags, "--device", "cpu")
    assert outcome.status == 0, outcome.err
    found = validate(ns.open_study(run), demo_model(), demo_images(), **options)
    table = pd.read_csv(run / "validation.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(table, found.table)


def test_names_in_a_run_hold_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "test", "resnet18"):
        Path(folder).mkdir()
    Path("net.py").touch()
    names = {
        "data": f"{tmp_path}/data",
        "./data": f"{tmp_path}/data",
        "cifar10:data": f"cifar10:{tmp_path}/data",
        "cifar10:data:test": f"cifar10:{tmp_path}/data:test",
        "hf:user/name:test": "hf:user/name:test",
        "torchvision:resnet50": "torchvision:resnet50",
        "missing/file.pth": "missing/file.pth",
        "": "",
    }
    assert {name: absolute(name) for name in names} == names
    assert absolute_architecture("net.py:small") == f"{tmp_path}/net.py:small"
    assert absolute_architecture("resnet18") == "resnet18"
    assert absolute_architecture(None) is None


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_predictions_rank_the_methods_of_the_real_network(
    normstats: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = normstats(
        *("analyze", CHECKPOINT, "--arch", ARCH, "--images", IMAGES, "--out", run),
        *("--methods", "bn@2,bn@4,bn@8,bn@16,bn@32,in,gn:8,gn:4,ln"),
    )
    assert outcome.status == 0, outcome.err
    outcome = normstats("validate", run, "--json", "--limit", 400)
    assert outcome.status == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["images"] == 400
    assert result["correlations"]["layers"] == 19
    assert result["correlations"]["error_within_layers"] >= 0.9
    assert result["correlations"]["residual_within_layers"] >= 0.9
    assert result["accuracy"] == pytest.approx(0.81, abs=0.05)
