"""tools/sweep.py over the zoos: each network is recognised, and captured or refused as expected."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", REPOSITORY / "tools" / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep"] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


sweep = _tool()
TORCHVISION = [*sweep.classification(), *sweep.tasks()]
TIMM = sweep.timm_families()

# Why layers are left out; nothing is where a network does not stand here.
IDLE, TOKENS, ROWS = "idle in eval mode", "tokens", "rows that are not images"
REGIONS, UNKNOWN, WEIGHTS = "per region", "unknown kind", "weight standardization"
LEFT_OUT: dict[str, set[str]] = {
    "torchvision:googlenet": {IDLE},
    "torchvision:inception_v3": {IDLE},
    "torchvision:vit_b_16": {TOKENS},
    "torchvision:vit_b_32": {TOKENS},
    "torchvision:vit_h_14": {TOKENS},
    "torchvision:vit_l_16": {TOKENS},
    "torchvision:vit_l_32": {TOKENS},
    "torchvision:fasterrcnn_resnet50_fpn_v2": {REGIONS},
    "torchvision:maskrcnn_resnet50_fpn_v2": {REGIONS},
    "torchvision:mvit_v1_b": {TOKENS},
    "torchvision:mvit_v2_s": {TOKENS},
    "timm:convnextv2_atto": {UNKNOWN},
    "timm:davit_tiny": {TOKENS},
    "timm:edgenext_xx_small": {TOKENS},
    "timm:efficientvim_m1": {TOKENS},
    "timm:mobilevit_xxs": {ROWS},
    "timm:pvt_v2_b0": {TOKENS},
    "timm:resnetv2_50x1_bit": {WEIGHTS},
    "timm:test_nfnet": {WEIGHTS},
    "timm:tiny_vit_5m_224": {ROWS, TOKENS},
    "timm:twins_pcpvt_small": {TOKENS},
    "timm:xcit_nano_12_p16_224": {TOKENS},
    "timm:cait_xxs24_224": {TOKENS},
    "timm:convit_tiny": {TOKENS},
    "timm:deit_tiny_patch16_224": {TOKENS},
    "timm:gmlp_ti16_224": {TOKENS},
    "timm:hiera_tiny_224": {TOKENS},
    "timm:levit_128s": {ROWS},
    "timm:pit_ti_224": {TOKENS},
    "timm:swin_tiny_patch4_window7_224": {TOKENS},
    "timm:swinv2_tiny_window16_256": {TOKENS},
    "timm:test_vit": {TOKENS},
    "timm:tnt_s_legacy_patch16_224": {TOKENS, ROWS},
    "timm:vit_tiny_r_s16_p8_224": {TOKENS, WEIGHTS},
    "timm:volo_d1_224": {TOKENS},
}
# Of no exact match; what is nearest is shown, and --arch says what it is.
UNRECOGNISED = {"timm:vit_tiny_r_s16_p8_224"}
# What stops a capture altogether, in its own words.
REFUSED = {
    "torchvision:raft_large": "missing 1 required positional argument: 'image2'",
    "torchvision:raft_small": "missing 1 required positional argument: 'image2'",
}


@pytest.fixture(autouse=True)
def _all_cores() -> None:
    torch.set_num_threads(max(2, torch.get_num_threads()))


@pytest.mark.parametrize("case", TORCHVISION, ids=lambda case: case.spec)
def test_torchvision(case: sweep.Case) -> None:
    outcome = sweep.run(case)
    assert case.spec in outcome.recognised
    assert len(outcome.recognised) <= 2  # identical twins
    assert_as_expected(outcome)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("case", TIMM, ids=lambda case: case.spec)
def test_timm(case: sweep.Case) -> None:
    outcome = sweep.run(case)
    if case.spec in UNRECOGNISED:
        assert outcome.recognised == ()
    else:
        twins = {spec.partition(":")[0] for spec in outcome.recognised}
        assert case.spec in outcome.recognised or twins == {"torchvision"}
    assert_as_expected(outcome)


def assert_as_expected(outcome: sweep.Outcome) -> None:
    reason = REFUSED.get(outcome.spec)
    if reason is not None:
        assert reason in outcome.refusal
        return
    assert set(outcome.left_out.values()) == LEFT_OUT.get(outcome.spec, set())
    if outcome.refusal:  # then the advice that it gives is good
        tokens = sum(reason == TOKENS for reason in outcome.left_out.values())
        assert outcome.with_tokens == tokens > 0
    else:
        assert outcome.captured > 0
    assert outcome.flaws == []
    assert outcome.dead <= outcome.found / 4
    assert set(outcome.errors) >= {"bn@2", "bn@4", "ln"}
    assert outcome.errors["bn@4"] < outcome.errors["bn@2"]


def test_enough_of_timm_is_swept(timm: Any) -> None:
    names = [case.spec.removeprefix("timm:") for case in TIMM]
    families = {timm.models.model_entrypoint(name).__module__ for name in names}
    assert len(families) == len(names) >= 40


def test_the_table_has_every_network() -> None:
    table = (REPOSITORY / "docs" / "sweep.md").read_text(encoding="utf-8")
    for case in [*TORCHVISION, *TIMM]:
        assert f"| {case.spec.partition(':')[2]} |" in table
