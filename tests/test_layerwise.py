"""Layers worked on at a time: as many as there is room for, and never all of them."""

import threading
import time
import weakref

import numpy as np
import pytest

import normstats as ns
from normstats import layerwise
from normstats.moments import LayerMoments, LazyLayers, Moments

WIDTHS = {"a": 4, "b": 64, "c": 8, "d": 32, "e": 16}
IMAGES = 40


def read(name: str) -> LayerMoments:
    rng = np.random.default_rng(WIDTHS[name])
    shape = (IMAGES, WIDTHS[name])
    return LayerMoments(rng.normal(size=shape), rng.gamma(2.0, size=shape), spatial=(4, 4))


def lazy(read_layer=read) -> Moments:
    return Moments(LazyLayers({name: (IMAGES, c) for name, c in WIDTHS.items()}, read_layer))


def test_results_are_in_the_layers_order() -> None:
    done: list[int] = []
    found = layerwise.map_layers(lambda name, layer: (name, layer.channels), lazy(), done.append)
    assert found == list(WIDTHS.items())
    assert done == [1, 2, 3, 4, 5]


def test_layers_at_a_time_fit_the_memory_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layerwise, "cpu_count", lambda: 4)
    monkeypatch.setattr(layerwise, "_BYTES", 16 * IMAGES * 50)  # of 50 channels
    lock, running, together = threading.Lock(), set(), []

    def work(name: str, layer: LayerMoments) -> None:
        with lock:
            running.add(name)
            together.append(set(running))
        time.sleep(0.02)
        with lock:
            running.remove(name)

    layerwise.map_layers(work, lazy())
    assert {"b"} in together  # the widest, for which there is too little room, is alone
    assert all(sum(WIDTHS[name] for name in some) <= 50 for some in together if some != {"b"})
    assert max(len(some) for some in together) > 1


def test_no_layer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layerwise, "cpu_count", lambda: 1)
    means: list[weakref.ref[np.ndarray]] = []

    def alive() -> int:
        return sum(mean() is not None for mean in means)

    def read_and_watch(name: str) -> LayerMoments:
        assert alive() <= 1  # that of the layer before, at most
        layer = read(name)
        means.append(weakref.ref(layer.mean))
        return layer

    study = ns.analyze(lazy(read_and_watch), "bn@1,bn@2,bn@4,gn:4,ln", draws=16)
    assert len(study.layers()) == len(means) == 5
    assert alive() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_layer_is_told(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    def work(name: str, layer: LayerMoments) -> None:
        if name == "c":
            raise ValueError(name)

    monkeypatch.setattr(layerwise, "cpu_count", lambda: threads)
    with pytest.raises(ValueError, match="c"):
        layerwise.map_layers(work, lazy())


def test_the_number_of_threads_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = []
    for threads in (1, 4):
        monkeypatch.setattr(layerwise, "cpu_count", lambda threads=threads: threads)
        tables.append(ns.analyze(lazy(), draws=32).errors().to_csv())
    assert tables[0] == tables[1]
