"""Wrapped, compiled, scripted and traced models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from normstats.capturing import capture, describe_layers
from normstats.errors import CaptureError


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


IMAGES = torch.randn(2, 3, 8, 8)


@pytest.fixture
def _process_group(tmp_path: object) -> object:
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch is built without torch.distributed")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_data_parallel() -> None:
    wrapped = nn.DataParallel(nn.DataParallel(small()))
    assert list(capture(wrapped, [IMAGES])) == ["1"]
    assert wrapped.training
    inside = nn.Sequential(nn.DataParallel(small()), nn.BatchNorm2d(4))
    assert list(capture(inside, [IMAGES])) == ["0.1", "1"]


@pytest.mark.usefixtures("_process_group")
def test_distributed_data_parallel() -> None:
    wrapped = nn.parallel.DistributedDataParallel(small())
    assert list(capture(wrapped, [IMAGES])) == ["1"]


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_models_run_eagerly_for_the_hooks() -> None:
    # A part that is wrapped, one that is compiled in place, and the whole; all were already run,
    # so that compiled code exists which knows no hooks (pytorch #117758).
    wrapped = torch.compile(small(), backend="eager")
    in_place = nn.Sequential(nn.BatchNorm2d(4))
    in_place.compile(backend="eager")
    model = nn.Sequential(wrapped, in_place)
    whole = torch.compile(nn.DataParallel(model), backend="eager")
    for compiled in (model, whole):
        compiled.train()(IMAGES)
        moments = capture(compiled, [IMAGES])
        assert list(moments) == ["0.1", "1.0"]
        assert all(module.training for module in compiled.modules())
    with torch.no_grad():
        x = model[0]._orig_mod[0](IMAGES)
    torch.testing.assert_close(torch.from_numpy(moments["0.1"].mean), x.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused() -> None:
    scripted = torch.jit.script(small())
    traced = torch.jit.trace(small().eval(), IMAGES)
    for model in (scripted, traced, nn.Sequential(scripted)):
        with pytest.raises(CaptureError, match="TorchScript") as caught:
            capture(model, [IMAGES])
        assert "eager" in str(caught.value.hint)
        with pytest.raises(CaptureError, match="TorchScript"):
            describe_layers(model, IMAGES)


def test_a_traced_graph_that_kept_its_modules_is_captured() -> None:
    assert list(capture(fx.symbolic_trace(small()), [IMAGES])) == ["1"]


def test_a_traced_graph_that_lost_them_is_refused() -> None:
    exported = torch.export.export(small().eval(), (IMAGES,)).module()
    blocks = [models.convnext.CNBlockConfig(8, None, 2)]
    looked_inside = fx.symbolic_trace(models.ConvNeXt(blocks))  # LayerNorm2d becomes a function

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.instance_norm(self.convolution(x))

    frozen = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4)).eval()
    frozen = torch.export.export(frozen, (IMAGES,)).module()  # plain arithmetic
    for graph in (exported, fx.symbolic_trace(Functional()), frozen):
        with pytest.raises(
            CaptureError, match="traced graph whose normalization layers have lost"
        ) as caught:
            capture(graph, [IMAGES])
        assert "eager" in str(caught.value.hint)
    moments = capture(looked_inside, [torch.randn(2, 3, 64, 64)])
    assert "features.1.0.block.2" in moments  # a plain LayerNorm stays a module
    assert moments.left_out["F.layer_norm"]


def test_a_traced_graph_of_convolutions_is_captured() -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert list(capture(graph, [IMAGES])) == ["0"]


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(CaptureError, match="OrderedDict, not a torch"):
        capture(small().state_dict(), [IMAGES])  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # torch.ao announces its end
def test_quantized_models_are_refused() -> None:
    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    parts = [torch.ao.quantization.QuantStub(), small(), torch.ao.quantization.DeQuantStub()]
    model = nn.Sequential(*parts).eval()
    model.qconfig = torch.ao.quantization.default_qconfig
    prepared = torch.ao.quantization.prepare(model)
    prepared(IMAGES)
    assert list(capture(prepared, [IMAGES])) == ["1.1"]  # still in floating point
    quantized = torch.ao.quantization.convert(prepared)
    for attempt in (capture, describe_layers):
        with pytest.raises(CaptureError, match=r"Its part '\S+' \(\w+\) is quantized") as caught:
            attempt(quantized, [IMAGES])  # type: ignore[operator]
        assert "floating-point model" in str(caught.value.hint)
    dynamic = nn.Sequential(small(), nn.Flatten(), nn.Linear(4 * 36, 2))
    dynamic = torch.ao.quantization.quantize_dynamic(dynamic, {nn.Linear})
    assert list(capture(dynamic, [IMAGES])) == ["0.1"]


def test_lazy_modules() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    with pytest.raises(CaptureError, match=r"Its part '0' \(LazyConv2d\) is lazy") as caught:
        capture(model, [IMAGES])
    assert "once on a batch" in str(caught.value.hint)
    with pytest.raises(CaptureError, match="lazy"):
        describe_layers(model, IMAGES)
    model(IMAGES)
    assert list(capture(model, [IMAGES])) == ["1"]


def test_parametrized_layers() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    model = small()
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.parametrize.register_parametrization(model[1], "weight", Doubled())
    moments = capture(model, [IMAGES])
    assert list(moments) == ["1"]
    assert not moments.left_out
    assert moments["1"].gamma is not None
    assert (moments["1"].gamma == 2).all()
    assert moments["1"].kind == "BatchNorm2d"
    layer = nn.Sequential(nn.LayerNorm(3))
    nn.utils.parametrize.register_parametrization(layer[0], "weight", Doubled())
    assert capture(layer, [torch.randn(2, 4, 5, 3)])["0"].spatial == (4, 5)


def test_norms_in_sequential_wrappers() -> None:
    class BatchNormAct(nn.Sequential):
        def __init__(self, channels: int) -> None:
            super().__init__(nn.BatchNorm2d(channels), nn.ReLU())

    model = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct(4))
    moments = capture(model, [IMAGES])
    assert list(moments) == ["1.0"]
    assert not moments.left_out
