from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch.nn import functional as F  # noqa: N812

from normstats.demo import WEIGHTS, demo_images, demo_model, digits_resnet
from normstats.demo.digits import load_digits_images, split
from normstats.demo.network import BasicBlock
from normstats.demo.train import count_correct, jitter, main, train
from normstats.errors import NormstatsError


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


def test_shipped_weights_read_held_out_digits(digits):
    images, labels = digits
    _, held_out = split(labels)
    model = demo_model()
    assert not model.training
    with torch.no_grad():
        logits = model(images[held_out])
    assert logits.shape == (360, 10)
    assert (logits.argmax(dim=1) == labels[held_out]).double().mean() >= 0.98


def test_shipped_weights_are_small_and_fit_exactly():
    assert WEIGHTS.stat().st_size < 1_000_000
    shipped = load_file(WEIGHTS)
    assert shipped.keys() == digits_resnet().state_dict().keys()
    for name, tensor in demo_model().state_dict().items():
        assert torch.equal(tensor, shipped[name]), name


def test_stored_statistics_are_those_of_the_training_digits(digits):
    images, labels = digits
    training, _ = split(labels)
    model = demo_model()
    with torch.no_grad():
        channels = F.conv2d(images[training], model.conv1.weight, padding=1).double()
    values = channels.movedim(1, 0).flatten(1)
    torch.testing.assert_close(model.bn1.running_mean.double(), values.mean(1), rtol=1e-4, atol=0)
    torch.testing.assert_close(model.bn1.running_var.double(), values.var(1), rtol=1e-4, atol=0)


def test_map_sizes():
    sizes = {}
    model = digits_resnet()
    for name in ("layer1", "layer2", "layer3"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: output.shape[1:]})
        )
    model(torch.rand(2, 1, 8, 8))
    assert sizes == {"layer1": (16, 8, 8), "layer2": (32, 4, 4), "layer3": (64, 4, 4)}


def test_a_silenced_block_is_its_shortcut():
    block = BasicBlock(2, 5, stride=2)
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(3, 2, 4, 4)
    expected = torch.zeros(3, 5, 2, 2)
    expected[:, :2] = x[:, :, [0, 2]][..., [0, 2]]
    torch.testing.assert_close(block(x), expected)


def test_images_are_scikit_learns_between_zero_and_one(digits):
    images, labels = digits
    raw = load_digits()
    assert (images.shape, images.dtype, labels.dtype) == (
        (1797, 1, 8, 8),
        torch.float32,
        torch.int64,
    )
    assert (images[:, 0].numpy() * 16 == raw.images).all()
    assert (labels.numpy() == raw.target).all()
    assert (images.min(), images.max()) == (0, 1)


def test_demo_images_can_be_read_twice(digits):
    images, labels = digits
    loader = demo_images()
    assert len(loader.dataset) == 1797
    assert loader.dataset.classes == tuple(str(name) for name in load_digits().target_names)
    for _ in range(2):
        batches = list(loader)
        assert torch.equal(torch.cat([batch[0] for batch in batches]), images)
        assert torch.equal(torch.cat([batch[1] for batch in batches]), labels)


def test_split_is_disjoint_complete_stratified_and_fixed(digits):
    _, labels = digits
    training, held_out = split(labels)
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(1797))
    assert len(held_out) == 360
    share = labels[held_out].bincount(minlength=10) / labels.bincount(minlength=10)
    assert ((share - 0.2).abs() < 0.005).all()
    for first, second in zip(split(labels), (training, held_out), strict=True):
        assert torch.equal(first, second)


def test_equal_seeds_train_equal_networks(digits):
    images, labels = (tensor[:100] for tensor in digits)
    random_state = torch.get_rng_state()
    first, again, other = (
        train(images, labels, epochs=1, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["linear.weight"], other["linear.weight"])


def test_jitter_moves_by_about_half_a_pixel_at_most():
    images = torch.zeros(400, 1, 8, 8)
    images[:, :, 3:5, 3:5] = 1  # a turn about the middle leaves its centre where it is
    moved = jitter(images, torch.Generator().manual_seed(0))[:, 0]
    position = torch.arange(8) - 3.5
    total = moved.sum(dim=(1, 2))
    for axis in (1, 2):
        centre = (moved.sum(dim=axis) * position).sum(dim=1) / total
        assert centre.abs().max() < 0.6  # 0.5 (cos 10° + sin 10°), along the turned axes
        assert centre.min() < -0.4
        assert centre.max() > 0.4


@pytest.mark.parametrize("module", ["sklearn.datasets", "sklearn.model_selection"])
def test_without_scikit_learn_the_hint_says_what_to_install(module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NormstatsError) as caught:
        split(load_digits_images()[1])
    assert "scikit-learn" in caught.value.message
    assert caught.value.hint == "pip install 'normstats[demo]'"

    with pytest.raises(SystemExit) as stopped:
        main(["--check"])
    assert stopped.value.code == 2
    assert "pip install 'normstats[demo]'" in capsys.readouterr().err


def test_check_prints_the_held_out_accuracy(digits, capsys):
    images, labels = digits
    _, held_out = split(labels)
    with torch.no_grad():
        predicted = demo_model()(images[held_out]).argmax(dim=1)
    correct = sum(
        a == b for a, b in zip(predicted.tolist(), labels[held_out].tolist(), strict=True)
    )
    main(["--check"])
    assert f"{correct} of 360 correct ({correct / 3.6:.2f}%)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "add --force"),
        (["--out", "missing/weights.safetensors"], "a folder that exists"),
        (["--out", ".", "--force"], "must be a file"),
        (["--check", "--force"], "--check trains nothing"),
        (["--check", "--out", "weights.safetensors"], "--check trains nothing"),
    ],
)
def test_impossible_options_end_before_training(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = WEIGHTS.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert WEIGHTS.read_bytes() == before
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 45 s on two free cores, far more on contended ones
def test_training_from_nothing_reads_held_out_digits(digits, tmp_path, capsys):
    images, labels = digits
    _, held_out = split(labels)
    out = tmp_path / "weights.safetensors"
    main(["--out", str(out)])
    model = digits_resnet()
    model.load_state_dict(load_file(out))
    correct = count_correct(model.eval(), images[held_out], labels[held_out])
    assert correct >= 0.98 * len(held_out)
    assert f"{correct} of 360 correct" in capsys.readouterr().out
