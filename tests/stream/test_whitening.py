"""Whitened principal axes of texts."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from stream import whitening


def test_directions_without_variance_are_left_out() -> None:
    rows = np.zeros((100, 5), np.float32)
    rows[:, 0] = np.linspace(-1, 1, 100)
    rows[:, 4] = 1.0
    mean, basis = whitening.fit(rows)
    projected = (rows - mean) @ basis
    assert_allclose(projected.std(0), [1.0, *[0.0] * (whitening.DIM - 1)], atol=1e-4)


def test_zero_rows_are_no_texts() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 8)).astype(np.float32)
    with_gaps = np.concatenate([rows, np.zeros((50, 8), np.float32)])
    for one, other in zip(whitening.fit(rows), whitening.fit(with_gaps), strict=True):
        assert_array_equal(one, other)
    projected = whitening.project(with_gaps, *whitening.fit(rows))
    assert_allclose(np.linalg.norm(projected, axis=1), [1.0] * 50 + [0.0] * 50, atol=1e-6)


def test_without_any_text_all_is_zero() -> None:
    mean, basis = whitening.fit(np.zeros((3, 4), np.float32))
    assert not mean.any()
    assert not basis.any()
