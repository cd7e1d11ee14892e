"""Taking Monte-Carlo noise away with what is known of the drawn batches.

The statistics of a group's batches are drawn together with the functions that are to be averaged,
and their expectations are exact (``closed_forms``). Each function is regressed on them; where
the draws came out high or low in what is known, the function is mended by its slope.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from normstats.closed_forms import ClosedForms
from normstats.population import Array

DRAW_BLOCKS = 16  # of batches, for the jackknife of the Monte-Carlo error


@dataclass(frozen=True)
class Controls:
    """A = M − E[M] and D = V − E[V] in units of their own spread, A², AD and D².

    Attributes:
        expected_mean: E[M], ``(G,)``.
        expected_variance: E[V], ``(G,)``.
        std_of_mean: √Var[M], ``(G,)``.
        std_of_variance: √Var[V], ``(G,)``.
        covariance: Cov[M, V], ``(G,)``.
    """

    expected_mean: Array
    expected_variance: Array
    std_of_mean: Array
    std_of_variance: Array
    covariance: Array

    @classmethod
    def of(cls, forms: ClosedForms) -> Controls:
        """The controls of batches with these closed forms."""
        return cls(
            expected_mean=forms.expected_mean,
            expected_variance=forms.expected_variance,
            std_of_mean=np.sqrt(forms.variance_of_mean),
            std_of_variance=np.sqrt(forms.variance_of_variance),
            covariance=forms.covariance,
        )

    def some(self, groups: slice) -> Controls:
        """Those of some groups."""
        return Controls(*(getattr(self, f.name)[groups] for f in fields(self)))

    def expected(self, forms: ClosedForms | None = None) -> Array:
        """Expectations of the five, ``(..., G, 5)``; zero where all images are alike.

        Args:
            forms: of the batches the expectations are over, where these are others.
        """
        if forms is None:
            a = d = np.zeros_like(self.std_of_mean)
            aa, ad, dd = self.std_of_mean**2, self.covariance, self.std_of_variance**2
        else:
            a = forms.expected_mean - self.expected_mean
            d = forms.expected_variance - self.expected_variance
            aa, ad = forms.variance_of_mean + a**2, forms.covariance + a * d
            dd = forms.variance_of_variance + d**2
        of_mean, of_variance = _inverse(self.std_of_mean), _inverse(self.std_of_variance)
        units = (of_mean, of_variance, of_mean**2, of_mean * of_variance, of_variance**2)
        return np.stack([x * unit for x, unit in zip((a, d, aa, ad, dd), units, strict=True)], -1)

    def means(self, functions: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Means of functions of drawn batches, mended by what is known of these batches.

        Args:
            functions: ``(G, F, n)``, with n a multiple of ``DRAW_BLOCKS``.
            mean: M − E[M] of each batch, ``(G, n)``.
            variance: V − E[V] of each batch, ``(G, n)``.

        Returns:
            Means over K blocks of batches ``(G, F, K)``, and the slopes ``(G, 5, F)``.
        """
        draws = mean.shape[-1]
        x = np.empty((len(mean), 5, draws))
        x[:, 0] = mean * _inverse(self.std_of_mean)[:, None]
        x[:, 1] = variance * _inverse(self.std_of_variance)[:, None]
        x[:, 2] = x[:, 0] ** 2
        x[:, 3] = x[:, 0] * x[:, 1]
        x[:, 4] = x[:, 1] ** 2
        x_blocks = x.reshape(*x.shape[:2], DRAW_BLOCKS, -1).mean(axis=-1)
        y_blocks = functions.reshape(*functions.shape[:2], DRAW_BLOCKS, -1).mean(axis=-1)
        x_mean, y_mean = x_blocks.mean(axis=-1), y_blocks.mean(axis=-1)
        gram = x @ x.transpose(0, 2, 1) / draws - x_mean[:, :, None] * x_mean[:, None]
        cross = x @ functions.transpose(0, 2, 1) / draws - x_mean[:, :, None] * y_mean[:, None]
        slope = np.linalg.solve(gram + 1e-12 * np.eye(5), cross)
        mended = y_blocks - slope.transpose(0, 2, 1) @ (x_blocks - self.expected()[:, :, None])
        return mended, slope


def _inverse(values: Array) -> Array:
    """1/x, and zero where x is."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
