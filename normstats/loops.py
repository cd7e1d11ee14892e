"""The inner loops of the analysis, compiled: one pass over the values, nothing stored in between.

Images, or batches, are side by side in the last axis, centred and in float64. Where ``ends`` is
given they come in blocks, and ``ends`` says where each block ends; results are means over them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.compiling import compiled

Array = NDArray[np.float64]
Places = NDArray[np.int64]

_IMAGES, _CHANNELS = 16, 64  # turned around together: their lines of the cache stay near


@compiled
def turned(values: NDArray[Any], order: Places, out: NDArray[Any]) -> None:
    """``(N, C)`` to ``(C, N)``, the images in that order."""
    channels, images = out.shape
    for first in range(0, channels, _CHANNELS):
        some = out[first : first + _CHANNELS]
        for start in range(0, images, _IMAGES):
            for image in range(start, min(start + _IMAGES, images)):
                row = values[order[image], first : first + _CHANNELS]
                for channel in range(row.size):
                    some[channel, image] = row[channel]


@compiled
def centred(mean: NDArray[Any], variance: NDArray[Any], centre: Array, out: Array) -> None:
    """d = m − μ and q = s2 + d² from m and s2, ``(c, N)``: to ``(2, c, N)``."""
    for channel in range(len(mean)):
        m, s2, origin = mean[channel], variance[channel], centre[channel]
        of_d, of_q = out[0, channel], out[1, channel]
        for image in range(m.size):
            d = np.float64(m[image]) - origin
            of_d[image] = d
            of_q[image] = np.float64(s2[image]) + d * d


@compiled
def monomials(a: Array, b: Array, centre: Array, ends: Places) -> Array:
    """Means of a, a², a³, a⁴, b, b², ab and a²b, with b from its centre: ``(8, K, G)``."""
    out = np.empty((8, ends.size, len(a)))
    for group in range(len(a)):
        start, origin = 0, centre[group]
        for block in range(ends.size):
            of_a, of_b = a[group, start : ends[block]], b[group, start : ends[block]]
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
            for image in range(of_a.size):
                x, y = of_a[image], of_b[image] - origin
                squared = x * x
                s0 += x
                s1 += squared
                s2 += squared * x
                s3 += squared * squared
                s4 += y
                s5 += y * y
                s6 += x * y
                s7 += squared * y
            for index, total in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
                out[index, block, group] = total / of_a.size
            start = ends[block]
    return out


@compiled
def add_to_groups(
    deviation: Array, second_moment: Array, offset: Array, first: int, size: int, out: Array
) -> None:
    """Add channels to their groups' a and b, ``(2, G, n)``, each divided by the group's size.

    Args:
        deviation, second_moment: d and q, ``(c, n)``.
        offset: μ − E[M] of each channel, ``(c,)``.
        first: the place of the first channel in the first of the groups.
        size: channels a group.
        out: what was added up before.
    """
    share = 1.0 / size
    for channel in range(len(deviation)):
        group, shift = (first + channel) // size, offset[channel]
        a, b = out[0, group], out[1, group]
        of_d, of_q = deviation[channel], second_moment[channel]
        for image in range(of_d.size):
            d = of_d[image]
            a[image] += share * d
            b[image] += share * (of_q[image] + (2.0 * d + shift) * shift)


@compiled
def of_single_channels(
    deviation: Array,
    second_moment: Array,
    std: Array,
    expected_variance: Array,
    epsilon: float,
    ends: Places,
) -> Array:
    """Means of (S − S0)², e, e² and e·(x − μ) where a channel is a group: ``(4, K, c)``.

    There V = q − d², e = V·(1/S − 1/S0) − d/S0 and so on, simpler than for groups.
    """
    out = np.empty((4, ends.size, len(deviation)))
    for channel in range(len(deviation)):
        s0, expected, start = std[channel], expected_variance[channel], 0
        for block in range(ends.size):
            of_d = deviation[channel, start : ends[block]]
            of_q = second_moment[channel, start : ends[block]]
            squared = linear = quadratic = total = total_squared = 0.0
            for image in range(of_d.size):
                d = of_d[image]
                v = of_q[image] - d * d
                v = 0.0 if v < 0.0 else v
                s = np.sqrt(v + epsilon)
                shift = (v - expected) / (s + s0)
                inverse = -shift / (s * s0)
                squared += shift * shift
                linear += v * inverse
                quadratic += v * inverse * inverse
                total += d
                total_squared += d * d
            out[0, block, channel] = squared / of_d.size
            out[1, block, channel] = -total / s0 / of_d.size
            out[2, block, channel] = (quadratic + total_squared / (s0 * s0)) / of_d.size
            out[3, block, channel] = (linear - total_squared / s0) / of_d.size
            start = ends[block]
    return out


@compiled
def group_functions(
    mean_shift: Array, variance: Array, std: Array, expected_variance: Array, epsilon: float
) -> Array:
    """All that a channel's output needs of its group's statistics, ``(G, 6, n)``.

    With i = 1/S − 1/S0 and a = M − E[M]: i, i², i·a/S, a/S, (S − S0)² and (a/S)².
    """
    out = np.empty((len(variance), 6, variance.shape[1]))
    for group in range(len(variance)):
        s0, expected = std[group], expected_variance[group]
        a, of_v, functions = mean_shift[group], variance[group], out[group]
        for batch in range(of_v.size):
            v = of_v[batch]
            s = np.sqrt((0.0 if v < 0.0 else v) + epsilon)
            shift = (v - expected) / (s + s0)
            inverse, scaled = -shift / (s * s0), a[batch] / s
            functions[0, batch] = inverse
            functions[1, batch] = inverse * inverse
            functions[2, batch] = inverse * scaled
            functions[3, batch] = scaled
            functions[4, batch] = shift * shift
            functions[5, batch] = scaled * scaled
    return out


@compiled
def of_groups(
    deviation: Array,
    second_moment: Array,
    offset: Array,
    first: int,
    size: int,
    functions: Array,
    ends: Places,
) -> Array:
    """Means of (S − S0)², e, e² and e·(x − μ), ``(4, K, c)``, by ``group_functions``.

    Args:
        deviation, second_moment, offset, first, size: as in ``add_to_groups``.
        functions: ``(G, 6, n)``; they may hold the weights of the batches.
        ends: of the blocks of batches.
    """
    out = np.empty((4, ends.size, len(deviation)))
    totals = np.empty((functions.shape[0], ends.size, 6))
    for group in range(functions.shape[0]):
        for index in range(6):
            start = 0
            for block in range(ends.size):
                totals[group, block, index] = functions[group, index, start : ends[block]].sum()
                start = ends[block]
    for channel in range(len(deviation)):
        group, shift, start = (first + channel) // size, offset[channel], 0
        for block in range(ends.size):
            d = deviation[channel, start : ends[block]]
            q = second_moment[channel, start : ends[block]]
            f = functions[group, :, start : ends[block]]
            f0, f1, f2, f3 = f[0], f[1], f[2], f[3]
            d0 = d1 = d2 = d3 = q0 = q1 = 0.0
            for batch in range(d.size):
                d0 += d[batch] * f0[batch]
                d1 += d[batch] * f1[batch]
                d2 += d[batch] * f2[batch]
                d3 += d[batch] * f3[batch]
                q0 += q[batch] * f0[batch]
                q1 += q[batch] * f1[batch]
            t0, t1, t2, t3, t4, t5 = totals[group, block]
            # From about μ to about E[M].
            q0 += (2.0 * d0 + shift * t0) * shift
            q1 += (2.0 * d1 + shift * t1) * shift
            d0 += shift * t0
            d2 += shift * t2
            d3 += shift * t3
            e = d0 - t3
            out[0, block, channel] = t4 / d.size
            out[1, block, channel] = e / d.size
            out[2, block, channel] = (q1 - 2.0 * d2 + t5) / d.size
            out[3, block, channel] = (q0 - d3 - shift * e) / d.size
            start = ends[block]
    return out


@compiled
def gathered(values: Array, places: Places, out: Array) -> None:
    """``values (c, N)`` at these places, ``(c, T)``."""
    for channel in range(len(values)):
        of_images, of_draws = values[channel], out[channel]
        for draw in range(places.size):
            of_draws[draw] = of_images[places[draw]]


@compiled
def averaged(values: Array, count: int, out: Array) -> None:
    """Means of ``count`` neighbours, ``(c, T)`` to ``(c, n)`` with n·count at most T."""
    for channel in range(len(values)):
        of_batches = out[channel]
        if count == 2:  # nearly always
            pairs = values[channel, : 2 * of_batches.size].reshape(-1, 2)
            for batch in range(of_batches.size):
                of_batches[batch] = 0.5 * (pairs[batch, 0] + pairs[batch, 1])
        else:
            members = values[channel, : count * of_batches.size].reshape(-1, count)
            for batch in range(of_batches.size):
                of_batches[batch] = members[batch].sum() / count


@compiled
def of_drawn_channels(
    deviation: Array,
    second_moment: Array,
    std: Array,
    expected_variance: Array,
    unit: Array,
    epsilon: float,
    blocks: int,
) -> tuple[Array, Array]:
    """What is known and what is not of batches where a channel is a group.

    Known: x = (V − E[V])·unit and x². Not: u = (S − S0)², u/S and u/S².

    Returns:
        Means over blocks of batches of these five, ``(c, K, 5)``; and of x·x, x·x², x²·x², x·u,
        x·u/S, x·u/S², x²·u, x²·u/S and x²·u/S² over all batches, ``(c, 9)``.
    """
    channels, batches = deviation.shape
    count = batches // blocks
    means, products = np.empty((channels, blocks, 5)), np.empty((channels, 9))
    for channel in range(channels):
        s0, expected, scale = std[channel], expected_variance[channel], unit[channel]
        p1 = p2 = p3 = p4 = p5 = p6 = p7 = p8 = 0.0
        for block in range(blocks):
            of_d = deviation[channel, block * count : (block + 1) * count]
            of_q = second_moment[channel, block * count : (block + 1) * count]
            m0 = m1 = m2 = m3 = m4 = 0.0
            for batch in range(of_d.size):
                v = of_q[batch] - of_d[batch] * of_d[batch]
                v = 0.0 if v < 0.0 else v
                s = np.sqrt(v + epsilon)
                shift = (v - expected) / (s + s0)
                u = shift * shift
                over = u / s
                over_squared = over / s
                x = (v - expected) * scale
                y = x * x
                m0 += x
                m1 += y
                m2 += u
                m3 += over
                m4 += over_squared
                p1 += x * y
                p2 += y * y
                p3 += x * u
                p4 += x * over
                p5 += x * over_squared
                p6 += y * u
                p7 += y * over
                p8 += y * over_squared
            for index, total in enumerate((m0, m1, m2, m3, m4)):
                means[channel, block, index] = total / count
        products[channel, 0] = means[channel, :, 1].mean()
        for index, total in enumerate((p1, p2, p3, p4, p5, p6, p7, p8)):
            products[channel, index + 1] = total / batches
    return means, products
