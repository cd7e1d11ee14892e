"""Run the whole way over the zoos: recognise, capture, analyze; write docs/sweep.md.

    python tools/sweep.py                      # everything, about 20 minutes on two cores
    python tools/sweep.py 'torchvision:vgg*'   # some of it, printed only

Every network has the random weights that its library gives it, with a fixed seed. Where it stores
running statistics, these are then taken from one batch, as those that it starts with let deep
networks die or explode. It sees eight images of noise, as small as it allows.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torchvision import models

import normstats as ns
from normstats.capturing import capture, describe_layers, is_detector
from normstats.errors import NormstatsError
from normstats.inputs.zoos.recognition import recognise

IMAGES = 8
METHODS = "bn@2,bn@4,in,gn:8,ln"
DRAWS = 16
TOKENS = "--channel-dim -1"
OF_WEIGHTS = "weight standardization"

# What a reason says, in a few words; the first that is found in it.
REASONS = {
    "looks like tokens": "tokens",
    "rows for": "rows that are not images",
    "did not run in eval mode": "idle in eval mode",
    "regions of interest": "per region",
    "not a kind of normalization known": "unknown kind",
    "as a function, not as a module": "a function",
    "NaN or infinite": "not finite",
    "weight standardization": OF_WEIGHTS,
}


@dataclass(frozen=True)
class Case:
    """A network and the images that it is shown.

    Attributes:
        spec: ``torchvision:resnet50``; the zoo and the name in it.
        shape: of one image, ``(C, H, W)`` or ``(C, T, H, W)``.
        options: given to the zoo's builder, so that smaller images do.
        count: of the images.
    """

    spec: str
    shape: tuple[int, ...] = (3, 64, 64)
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int = IMAGES

    def build(self, **options: Any) -> nn.Module:
        """The network, in eval mode, with the zoo's own random weights."""
        zoo, _, name = self.spec.partition(":")
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if zoo == "timm":
                import timm

                return timm.create_model(name, **options).eval()
            if "weights_backbone" in signature(models.get_model_builder(name)).parameters:
                options["weights_backbone"] = None
            return models.get_model(name, weights=None, **options).eval()

    def images(self) -> Tensor:
        """Smooth noise, a little different in brightness and contrast from image to image."""
        noise = torch.Generator().manual_seed(0)
        coarse = torch.rand((self.count, *self.shape[:-2], 8, 8), generator=noise).flatten(1, -3)
        smooth = nn.functional.interpolate(coarse, self.shape[-2:], mode="bilinear")
        images = smooth.reshape(self.count, *self.shape)
        return (images + 0.2 * torch.rand(images.shape, generator=noise)) / 1.2


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        spec: as in the case.
        recognised: what its state dict may be of.
        found: norm layers, or convolutions where it has none, and normalization functions; each
            call counts.
        captured: how many of them.
        channels: all channels of the captured layers.
        left_out: the others, with the reason in a few words.
        refusal: why nothing could be captured, where that is so.
        with_tokens: layers captured when the refusal's advice is followed.
        dead: captured layers without a single live channel.
        errors: the median over layers of the error, by method.
        flaws: what is wrong with the numbers; must stay empty.
        seconds: all in all.
    """

    spec: str
    recognised: tuple[str, ...] = ()
    found: int = 0
    captured: int = 0
    channels: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    with_tokens: int = 0
    dead: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def of_weights(self) -> set[str]:
        """The functions that normalize weights: described, but not missed in a capture."""
        return {name for name, reason in self.left_out.items() if reason == OF_WEIGHTS}


def run(case: Case) -> Outcome:
    """Recognise, capture and analyze one network."""
    start = time.perf_counter()
    outcome = Outcome(case.spec)
    model = case.build(**case.options)
    outcome.recognised = recognise(_state(case, model)).exact
    images = case.images()
    settle(model, images)
    try:
        _describe(model, images, outcome)
        moments = capture(model, [images])
    except NormstatsError as error:
        outcome.refusal = error.message
        moments = None
        if TOKENS in error.message:  # follow its advice
            moments = capture(model, [images], channel_dim=-1)
            outcome.with_tokens = len(moments)
    else:
        outcome.captured = len(moments)
        if moments.left_out.keys() != outcome.left_out.keys() - outcome.of_weights:
            outcome.flaws.append("describe_layers says otherwise")
    if moments is not None:
        _analyze(moments, outcome)
    outcome.seconds = time.perf_counter() - start
    del model, moments
    gc.collect()
    return outcome


def settle(model: nn.Module, images: Tensor) -> None:
    """Have every BatchNorm store the statistics of these images."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        with torch.no_grad(), suppress(TypeError):  # what it does not take, capture says
            model(list(images) if is_detector(model) else images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _state(case: Case, model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the network as the zoo builds it; options may change its shapes."""
    if not case.options:
        return model.state_dict()
    with torch.device("meta"):
        return case.build().state_dict()


def _describe(model: nn.Module, images: Tensor, outcome: Outcome) -> None:
    rows = describe_layers(model, images[:2])
    outcome.found = len(rows)
    for row in rows:
        if not row.captured:
            words = (short for part, short in REASONS.items() if part in row.reason)
            outcome.left_out[row.name] = next(words, row.reason)


def _analyze(moments: ns.Moments, outcome: Outcome) -> None:
    study = ns.analyze(moments, METHODS, draws=DRAWS)
    errors = study.errors()
    alive = study.channels().groupby("layer")["alive"].any()
    points = {name for name, layer in moments.items() if layer.positions == 1}
    outcome.channels = len(study.channels())
    outcome.dead = int((~alive).sum())
    errors = errors[errors["layer"].map(alive)]
    outcome.errors = dict(errors.groupby("method", sort=False)["error"].median().dropna())
    defined = ~((errors["method"] == "in") & errors["layer"].isin(points))
    most = 1 + 5 * errors["residual_standard_error"]  # so few draws are noisy, and say so
    sound = (
        np.isfinite(errors["error"]) & (errors["error"] >= 0) & errors["residual"].between(0, most)
    )
    outcome.flaws += [
        f"{row.layer}, {row.method}: error {row.error}, residual {row.residual}"
        for row in errors[defined & ~sound].itertuples()
    ]
    # Var[M] = τ²/B, so that twice the batch is half of it.
    two, four = (
        errors[errors["method"] == method].set_index("layer")["mean_variance"]
        for method in ("bn@2", "bn@4")
    )
    uneven = two.index[~np.isclose(two, 2 * four, rtol=1e-9, atol=0)]
    outcome.flaws += [f"{layer}: bn@4 has not half the variance of bn@2" for layer in uneven]


def classification() -> list[Case]:
    """Every classification model of torchvision."""
    special = {
        # Patches of 14 or 16 or 32 pixels; the number of tokens is in the weights.
        **{f"vit_{n}": ((3, 64, 64), {"image_size": 64}) for n in ("b_16", "b_32", "l_16", "l_32")},
        "vit_h_14": ((3, 56, 56), {"image_size": 56}),
        "maxvit_t": ((3, 224, 224), {}),  # windows of 7 must fit at every scale
        "inception_v3": ((3, 96, 96), {"init_weights": True}),
        "googlenet": ((3, 96, 96), {"init_weights": True}),
    }
    names = models.list_models(module=models)
    return [Case(f"torchvision:{n}", *special.get(n, ((3, 64, 64), {}))) for n in names]


def tasks() -> list[Case]:
    """torchvision's models of other tasks: segmentation, detection, video, optical flow."""
    small = {"min_size": 96, "max_size": 128}
    few_regions = {**small, "rpn_post_nms_top_n_test": 50, "box_detections_per_img": 4}
    large = ((3, 16, 224, 224), {}, IMAGES // 2)  # what they are made for, and take alone
    clips = {"s3d": large, "mvit_v1_b": large, "mvit_v2_s": large}
    return [
        *(Case(f"torchvision:{n}") for n in models.list_models(module=models.segmentation)),
        *(
            Case(f"torchvision:{n}", (3, 96, 96), few_regions if "rcnn" in n else small)
            for n in models.list_models(module=models.detection)
            if not n.startswith("ssd")
        ),
        *(
            Case(f"torchvision:{n}", (3, 96, 96))  # scaled to 300 pixels inside
            for n in models.list_models(module=models.detection)
            if n.startswith("ssd")
        ),
        *(
            Case(f"torchvision:{n}", *clips.get(n, ((3, 8, 64, 64), {})))
            for n in models.list_models(module=models.video)
        ),
        *(Case(f"torchvision:{n}") for n in models.list_models(module=models.optical_flow)),
    ]


# One small network for each of timm's families (its source files).
_TIMM = """
    convmixer_768_32 convnextv2_atto cs3darknet_focus_s cspnext_tiny davit_tiny densenet121 dla46x_c
    edgenext_xx_small efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim
    fasternet_t0 fastvit_t8 focalnet_tiny_srf ghostnet_050 hgnetv2_b0 hrnet_w18_small
    inception_next_atto lcnetv2_small legacy_seresnet18 legacy_xception mobilenetv3_small_050
    mobilevit_xxs poolformerv2_s12 pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 repvit_m1
    res2next50 resnest14d resnetv2_50x1_bit rexnet_100 selecsls42 skresnet18 starnet_s050
    swiftformer_xs test_byobnet test_efficientnet test_mambaout test_nfnet test_resnet
    tiny_vit_5m_224 tresnet_m twins_pcpvt_small xception41 xcit_nano_12_p16_224
"""
# These are told the size of their images when they are built.
_TIMM_FIXED = """
    cait_xxs24_224 convit_tiny deit_tiny_patch16_224 efficientformerv2_s0 gcvit_xxtiny
    gmlp_ti16_224 hiera_tiny_224 levit_128s nest_tiny pit_ti_224 swin_tiny_patch4_window7_224
    swinv2_tiny_window16_256 test_coatnet test_vit tnt_s_legacy_patch16_224 visformer_tiny
    vit_tiny_r_s16_p8_224 volo_d1_224
"""


def timm_families() -> list[Case]:
    """A network of each of many families of timm."""
    return [
        *(Case(f"timm:{name}") for name in _TIMM.split()),
        *(Case(f"timm:{name}", options={"img_size": 64}) for name in _TIMM_FIXED.split()),
        Case("timm:inception_v3", (3, 96, 96)),
    ]


PARTS = {
    "torchvision, classification": classification,
    "torchvision, other tasks": tasks,
    "timm, a network a family": timm_families,
}


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield (
        "| network | recognised as | captured | channels | left out | dead | bn@2 | bn@4 | ln | s |"
    )
    yield "|---|---|--:|--:|---|--:|--:|--:|--:|--:|"
    for outcome in outcomes:
        zoo = outcome.spec.partition(":")[0]
        others = [s.removeprefix(f"{zoo}:") for s in outcome.recognised if s != outcome.spec]
        own = ["itself"] if outcome.spec in outcome.recognised else []
        left_out = Counter(outcome.left_out.values())
        reasons = [f"{count} {reason}" for reason, count in left_out.items()]
        if outcome.with_tokens:
            reasons.append(f"`{TOKENS}` captures {outcome.with_tokens}")
        elif outcome.refusal:
            reasons = [f"refused: {outcome.refusal}".replace("|", "\\|")]
        cells = [
            outcome.spec.removeprefix(f"{zoo}:"),
            ", ".join(own + others) or "nothing",
            f"{outcome.captured} of {outcome.found}",
            f"{outcome.channels:,}",
            "; ".join(reasons + outcome.flaws),
            str(outcome.dead or ""),
            *(f"{outcome.errors.get(m, np.nan):.2g}" for m in ("bn@2", "bn@4", "ln")),
            f"{outcome.seconds:.1f}",
        ]
        yield f"| {' | '.join(cells)} |"


def summary(outcomes: Sequence[Outcome]) -> str:
    """What came of all of them, in a sentence or two."""
    recognised = sum(outcome.spec in outcome.recognised for outcome in outcomes)
    tied = sum(len(outcome.recognised) > 1 for outcome in outcomes)
    captured = [outcome for outcome in outcomes if outcome.captured]
    as_tokens = sum(outcome.with_tokens > 0 for outcome in outcomes)
    layers = sum(outcome.captured for outcome in outcomes)
    dead = sum(outcome.dead for outcome in outcomes)
    bad = sum(reason == "not finite" for o in outcomes for reason in o.left_out.values())
    seconds = sum(outcome.seconds for outcome in outcomes)
    return (
        f"{len(outcomes)} networks: {recognised} recognised as themselves ({tied} in a tie), "
        f"{len(captured)} captured, {as_tokens} only as tokens, "
        f"{len(outcomes) - len(captured) - as_tokens} refused. {layers:,} layers, of which {dead} "
        f"without a live channel; {bad} left out for values that are not finite. "
        f"{seconds / 60:.1f} minutes."
    )


HEADER = f"""# The zoos, swept

Written by `tools/sweep.py`; `pytest -m slow tests/test_sweep.py` holds every row to what is
expected of it.

Each network is built with its library's own random weights (seed 0) and, where it stores running
statistics, takes them from one batch. It is recognised from the names and shapes of its state dict
alone, sees {IMAGES} images of noise, as small as it allows, and is analyzed with
`{METHODS}`. *captured*: norm layers, or convolutions where there are none, of all that
were found. *dead*: captured layers without a live channel. The last columns are medians over
layers of the error, and seconds on two cores.
"""


def main() -> None:
    """Sweep what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="patterns of names; without, write docs/sweep.md")
    only = parser.parse_args().only
    console = Console(soft_wrap=True, highlight=False, markup=False)
    page = [HEADER]
    for title, cases in PARTS.items():
        outcomes: list[Outcome] = []
        for case in cases():
            if not only or any(fnmatchcase(case.spec, pattern) for pattern in only):
                outcomes.append(run(case))
                console.print(list(table(outcomes))[-1])
        if outcomes:
            console.print(summary(outcomes))
            page += [f"## {title}", "", summary(outcomes), "", *table(outcomes), ""]
    if not only:
        target = Path(__file__).parents[1] / "docs" / "sweep.md"
        target.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
