"""Networks that want their images in another way, or return something other than a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from capturing.truth import numpy_moments, randomized
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from normstats.capturing import capture, describe_layers, example_input, is_detector
from normstats.errors import CaptureError


def backbone() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    body.out_channels = 8
    return body


def detector() -> FasterRCNN:
    """Its box head has norm layers of its own, which run on regions."""
    head = nn.Sequential(nn.Conv2d(8, 8, 7), nn.BatchNorm2d(8), nn.Flatten())
    model = FasterRCNN(
        backbone(),
        rpn_anchor_generator=AnchorGenerator(((16,),), ((1.0,),)),
        box_head=head,
        box_predictor=Boxes(),
        min_size=64,
        max_size=96,
    )
    return randomized(model)


class Boxes(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_zeros(len(x), 2), x.new_zeros(len(x), 8)


def padded_truth(model: nn.Module, images: list[Tensor]) -> tuple[Any, Any]:
    with torch.no_grad():
        maps = model.eval().transform(images)[0].tensors
        return numpy_moments(model.backbone[0](maps))


def test_detection_models_take_lists() -> None:
    model, images = detector(), torch.rand(5, 3, 48, 64)
    assert is_detector(model)
    assert not is_detector(backbone())
    assert not is_detector(nn.Sequential(model))  # what wraps one may be called otherwise
    moments = capture(model, images.split(2))
    assert list(moments) == ["backbone.1"]
    mean, variance = padded_truth(model, list(images))
    np.testing.assert_allclose(moments["backbone.1"].mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments["backbone.1"].variance, variance, rtol=1e-4)
    assert "regions of interest" in moments.left_out["roi_heads.box_head.1"]


def test_images_of_several_sizes_are_padded_as_the_detector_does() -> None:
    model = detector()
    images = [torch.rand(3, 48, 64), torch.rand(3, 64, 48), torch.rand(3, 64, 64)]
    targets = [{"boxes": torch.zeros(0, 4)}] * 3
    batches = [(images[:2], targets[:2]), (tuple(images[2:]), targets[2:])]
    moments = capture(model, batches)
    assert moments.images == 3
    assert moments.labels is None
    layer = moments["backbone.1"]
    assert layer.spatial == (16, 16)
    for rows, part in ((slice(0, 2), images[:2]), (slice(2, 3), images[2:])):
        mean, variance = padded_truth(model, part)
        np.testing.assert_allclose(layer.mean[rows], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.variance[rows], variance, rtol=1e-4)


def test_heads_that_run_on_every_level() -> None:
    levels = nn.ModuleDict({"0": backbone(), "1": nn.Conv2d(8, 8, 3, stride=2, padding=1)})

    class Pyramid(nn.Module):
        out_channels = 8

        def __init__(self) -> None:
            super().__init__()
            self.levels = levels

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.levels["0"](x)
            return {"0": x, "1": self.levels["1"](x)}

    anchors = AnchorGenerator(((16,), (32,)), ((1.0,),) * 2)
    model = RetinaNet(Pyramid(), 2, 64, 96, anchor_generator=anchors)
    norms = [nn.GroupNorm(4, 8) for _ in range(2)]
    model.head.classification_head.conv.append(norms[0])
    model.head.regression_head.conv.append(norms[1])
    rows = describe_layers(model, torch.rand(2, 3, 64, 64))
    assert all(row.captured for row in rows)
    names = [f"head.{head}_head.conv.4" for head in ("classification", "regression")]
    assert [row.name for row in rows][1:] == [n + s for n in names for s in ("", "#2")]
    assert [row.spatial for row in rows][1:3] == [(16, 16), (8, 8)]


def test_equal_images_in_a_list_are_a_batch_for_other_models() -> None:
    images = torch.randn(4, 3, 8, 8)
    labels = torch.arange(4)
    model = nn.Sequential(nn.BatchNorm2d(3))
    moments = capture(model, [(list(images[:3]), labels[:3]), (list(images[3:]), labels[3:])])
    np.testing.assert_allclose(moments["0"].mean, numpy_moments(images)[0], rtol=1e-5, atol=1e-6)
    assert moments.labels is not None
    with pytest.raises(CaptureError, match=r"several sizes: \(3, 8, 8\), \(3, 8, 9\)") as caught:
        capture(model, [([images[0], torch.randn(3, 8, 9)], None)])
    assert "batches of one image" in caught.value.hint
    with pytest.raises(CaptureError, match="list is empty"):
        capture(model, [([], None)])


def test_segmentation_models_return_dicts() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = backbone()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.body(x), "aux": x}

    aux = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model = DeepLabV3(Features(), DeepLabHead(8, 2, (1, 2)), aux)
    images = torch.randn(3, 3, 32, 32)
    moments = capture(model, [images])
    # The pooled branch of the head is a map of one position.
    spatial = {layer.spatial for layer in moments.values()}
    assert spatial == {(8, 8), (1, 1), (32, 32)}
    assert not moments.left_out
    mean, _ = numpy_moments(model.backbone.body[0](images))
    np.testing.assert_allclose(moments["backbone.body.1"].mean, mean, rtol=1e-4, atol=1e-5)


class _Returns(nn.Module):
    def __init__(self, result: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.result = result

    def forward(self, x: Tensor) -> Any:
        return self.result(self.norm(x))


@pytest.mark.parametrize("result", [lambda x: None, lambda x: (x, [x]), lambda x: {"out": x}])
def test_whatever_it_returns(result: Callable[[Tensor], Any]) -> None:
    assert list(capture(_Returns(result), [torch.randn(2, 3, 8, 8)])) == ["norm"]


def test_images_by_keyword() -> None:
    class Keyword(_Returns):
        def forward(self, *, pixels: Tensor, scale: float = 1.0) -> Any:  # type: ignore[override]
            return super().forward(pixels * scale)

    class Two(_Returns):
        def forward(self, *, first: Tensor, second: Tensor) -> Any:  # type: ignore[override]
            return super().forward(first)

    images = torch.randn(2, 3, 8, 8)
    moments = capture(Keyword(lambda x: x), [images])
    np.testing.assert_allclose(moments["norm"].mean, numpy_moments(images)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(CaptureError, match="TypeError") as caught:
        capture(Two(lambda x: x), [images])
    assert "wrap it in a module" in caught.value.hint


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_blocks_are_read_once(reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

        def forward(self, x: Tensor) -> Any:
            return checkpoint(self.block, x, use_reentrant=reentrant)

    model, images = Checkpointed(), torch.randn(4, 3, 8, 8)
    moments = capture(model, images.split(2))
    assert list(moments) == ["block.1"]
    mean, _ = numpy_moments(model.block[0](images))
    np.testing.assert_allclose(moments["block.1"].mean, mean, rtol=1e-4, atol=1e-5)


def test_video() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, (1, 3, 3)), nn.BatchNorm3d(4), nn.Conv3d(4, 4, (3, 1, 1)))
    model.append(nn.BatchNorm3d(4))
    clips = torch.randn(3, 3, 6, 10, 10)
    moments = capture(model, clips.split(2))
    assert [layer.spatial for layer in moments.values()] == [(6, 8, 8), (4, 8, 8)]
    mean, variance = numpy_moments(model[:3].eval()(clips))
    np.testing.assert_allclose(moments["3"].mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments["3"].variance, variance, rtol=1e-4, atol=1e-5)


def test_frames_taken_as_images_are_left_out() -> None:
    class ByFrame(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip, self.frame = nn.BatchNorm3d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.frame(self.clip(x).transpose(1, 2).flatten(0, 1))

    moments = capture(ByFrame(), [torch.randn(2, 3, 5, 8, 8)])
    assert list(moments) == ["clip"]
    assert "10 rows for 2 images" in moments.left_out["frame"]


def test_empty_maps_are_left_out() -> None:
    class Sliced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole, self.nothing = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.nothing(self.whole(x)[..., :0])

    moments = capture(Sliced(), [torch.randn(2, 3, 8, 8)])
    assert list(moments) == ["whole"]
    assert "(2, 3, 8, 0) is empty" in moments.left_out["nothing"]


def test_models_that_want_two_inputs_are_refused_with_the_way_out() -> None:
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self.conv(first - second)

    for attempt in (
        lambda: example_input(Flow()),
        lambda: capture(Flow(), [torch.randn(2, 3, 8, 8)]),
    ):
        with pytest.raises(CaptureError, match="missing 1 required positional") as caught:
            attempt()
        assert "wrap it in a module" in caught.value.hint
