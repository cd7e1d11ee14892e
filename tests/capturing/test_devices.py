from __future__ import annotations

import pytest
import torch
from torch import nn

from normstats.capturing import capture, resolve_device
from normstats.capturing.devices import placed
from normstats.errors import CaptureError, DeviceError

IMAGES = [torch.randn(2, 3, 8, 8)]


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("name", ["cuda:63", "tpu9", "", "meta"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(DeviceError, match=f"no device '{name}'") as caught:
        resolve_device(name)
    assert "cpu" in str(caught.value.hint)
    model = small()
    with pytest.raises(DeviceError):
        capture(model, IMAGES, device=name)
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_devices_that_are_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    best = "mps" if best == "cpu" and torch.backends.mps.is_available() else best
    assert resolve_device(None).type == resolve_device("auto").type == best


@pytest.mark.parametrize("device", [None, "auto", "cpu", torch.device("cpu")])
def test_capture_where_the_model_is(device: str | torch.device | None) -> None:
    assert capture(small(), IMAGES, device=device).images == 2


def test_a_model_without_weights() -> None:
    with torch.device("meta"):
        model = small()
    with pytest.raises(DeviceError, match="meta device"):
        capture(model, IMAGES)


def test_a_model_without_parameters_runs_on_the_cpu() -> None:
    assert capture(nn.Sequential(nn.InstanceNorm2d(3)), IMAGES).images == 2


def test_moved_and_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one device only, the way there and back is all that can be seen."""
    model = small()
    moves: list[str] = []
    monkeypatch.setattr(nn.Module, "to", lambda _, device: moves.append(str(device)))
    monkeypatch.setattr("normstats.capturing.devices.resolve_device", torch.device)
    with placed(model, "cuda:0") as device:
        assert device == torch.device("cuda:0")
        assert moves == ["cuda:0"]
    assert moves == ["cuda:0", "cpu"]
    with pytest.raises(CaptureError):
        capture(model, [{}], device="cuda:0")
    assert moves == ["cuda:0", "cpu"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_cuda() -> None:
    model = small()
    on_cpu = capture(model, IMAGES)
    on_cuda = capture(model, IMAGES, device="cuda")
    assert all(p.device.type == "cpu" for p in model.parameters())
    torch.testing.assert_close(
        torch.from_numpy(on_cuda["1"].mean), torch.from_numpy(on_cpu["1"].mean), atol=1e-3, rtol=0
    )
    model.to("cuda")
    assert capture(model, IMAGES, device="cuda").images == 2
    model[1].to("cpu")
    with pytest.raises(DeviceError, match="several devices"):
        capture(model, IMAGES, device="cuda")
