"""Run the whole way over the zoos: recognise, capture, analyze; write docs/sweep.md.

    python tools/sweep.py                      # everything, about 20 minutes on two cores
    python tools/sweep.py 'torchvision:vgg*'   # some of it, printed only

Every network has the random weights that its library gives it, with a fixed seed. Where it stores
running statistics, these are then taken from one batch, as those that it starts with let deep
networks die or explode. It sees eight images of noise, as small as it allows.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

import normstats as ns
from normstats.capturing import capture, describe_layers, is_detector
from normstats.errors import NormstatsError
from normstats.inputs.recognition import recognise

IMAGES = 8
METHODS = "bn@2,bn@4,in,gn:8,ln"
DRAWS = 16
TOKENS = "--channel-dim -1"

# What a reason says, in a few words; the first that is found in it.
REASONS = {
    "looks like tokens": "tokens",
    "rows for": "rows that are not images",
    "did not run in eval mode": "idle in eval mode",
    "regions of interest": "per region",
    "not a kind of normalization known": "unknown kind",
    "as a function, not as a module": "a function",
    "NaN or infinite": "not finite",
}


@dataclass(frozen=True)
class Case:
    """A network and the images that it is shown.

    Attributes:
        spec: ``torchvision:resnet50``; the zoo and the name in it.
        shape: of one image, ``(C, H, W)`` or ``(C, T, H, W)``.
        options: given to the zoo's builder, so that smaller images do.
    """

    spec: str
    shape: tuple[int, ...] = (3, 64, 64)
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, **options: Any) -> nn.Module:
        """The network, in eval mode, with the zoo's own random weights."""
        zoo, _, name = self.spec.partition(":")
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if zoo == "timm":
                import timm

                return timm.create_model(name, **options).eval()
            return models.get_model(name, weights=None, **options).eval()

    def images(self) -> Tensor:
        """Smooth noise, a little different in brightness and contrast from image to image."""
        noise = torch.Generator().manual_seed(0)
        coarse = torch.rand((IMAGES, *self.shape[:-2], 8, 8), generator=noise).flatten(1, -3)
        smooth = nn.functional.interpolate(coarse, self.shape[-2:], mode="bilinear")
        images = smooth.reshape(IMAGES, *self.shape)
        return (images + 0.2 * torch.rand(images.shape, generator=noise)) / 1.2


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        spec: as in the case.
        recognised: what its state dict may be of.
        found: norm layers, or convolutions where it has none; each call counts.
        captured: how many of them.
        channels: all channels of the captured layers.
        left_out: the other layers and functions, with the reason in a few words.
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


def run(case: Case) -> Outcome:
    """Recognise, capture and analyze one network."""
    start = time.perf_counter()
    outcome = Outcome(case.spec)
    model = case.build(**case.options)
    outcome.recognised = recognise(_state(case, model)).exact
    images = case.images()
    try:
        settle(model, images)
        moments = capture(model, [images])
    except NormstatsError as error:
        outcome.refusal = error.message
        moments = _as_tokens(model, images, outcome)
    else:
        outcome.captured = len(moments)
        outcome.left_out = {n: _in_short(reason) for n, reason in moments.left_out.items()}
    outcome.found = outcome.captured + len(outcome.left_out)
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
    with torch.no_grad():
        if norms:
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


def _as_tokens(model: nn.Module, images: Tensor, outcome: Outcome) -> ns.Moments | None:
    """Follow the advice of a refusal, where it gives the one for tokens."""
    if TOKENS not in outcome.refusal:
        return None
    rows = describe_layers(model, images)
    outcome.left_out = {row.name: _in_short(row.reason) for row in rows}
    moments = capture(model, [images], channel_dim=-1)
    outcome.with_tokens = len(moments)
    return moments


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
    wrong = errors[defined & ~(np.isfinite(errors["error"]) & (errors["error"] >= 0))]
    outcome.flaws += [f"{r.layer}, {r.method}: error {r.error}" for r in wrong.itertuples()]
    # Var[M] = τ²/B, so that twice the batch is half of it.
    two, four = (
        errors[errors["method"] == method].set_index("layer")["mean_variance"]
        for method in ("bn@2", "bn@4")
    )
    uneven = two.index[~np.isclose(two, 2 * four, rtol=1e-9, atol=0)]
    outcome.flaws += [f"{layer}: bn@4 has not half the variance of bn@2" for layer in uneven]


def _in_short(reason: str) -> str:
    return next((short for words, short in REASONS.items() if words in reason), reason)


def classification() -> list[Case]:
    """Every classification model of torchvision."""
    special = {
        # Patches of 14 or 16 or 32 pixels; the number of tokens is in the weights.
        **{f"vit_{n}": ((3, 64, 64), {"image_size": 64}) for n in ("b_16", "b_32", "l_16", "l_32")},
        "vit_h_14": ((3, 56, 56), {"image_size": 56}),
        "maxvit_t": ((3, 224, 224), {}),  # windows of 7 must fit at every scale
        "inception_v3": ((3, 96, 96), {"init_weights": True}),
        "googlenet": ((3, 64, 64), {"init_weights": True}),
    }
    names = models.list_models(module=models)
    return [Case(f"torchvision:{n}", *special.get(n, ((3, 64, 64), {}))) for n in names]


def tasks() -> list[Case]:
    """torchvision's models of other tasks: segmentation, detection, video, optical flow."""
    small = {"min_size": 96, "max_size": 128}
    mvit = ((3, 16, 64, 64), {"spatial_size": (64, 64)})
    clips = {"s3d": ((3, 16, 224, 224), {}), "mvit_v1_b": mvit, "mvit_v2_s": mvit}
    return [
        *(Case(f"torchvision:{n}") for n in models.list_models(module=models.segmentation)),
        *(
            Case(f"torchvision:{n}", (3, 96, 96), {} if n.startswith("ssd") else small)
            for n in models.list_models(module=models.detection)
        ),
        *(
            Case(f"torchvision:{n}", *clips.get(n, ((3, 8, 64, 64), {})))
            for n in models.list_models(module=models.video)
        ),
        *(Case(f"torchvision:{n}") for n in models.list_models(module=models.optical_flow)),
    ]


# One small network a family (a source file of timm), by the side of the images it is shown.
TIMM: Mapping[int, str] = {
    64: """
        test_byobnet convmixer_768_32 test_convnext3 cs3darknet_focus_s cspnext_tiny densenet121
        dla46x_c edgenext_xx_small test_efficientnet efficientvim_m1 efficientvit_b0 fasternet_t0
        focalnet_tiny_srf ghostnet_050 hgnetv2_b0 hrnet_w18_small inception_next_atto
        lcnetv2_small lowformer_b0 test_mambaout poolformerv2_s12 mobilenetv3_small_050 test_nfnet
        pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d
        test_resnet resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18 shvit_s1 skresnet18
        starnet_s050 tresnet_m twins_pcpvt_small ese_vovnet19b_slim legacy_xception xception41
    """,
}
