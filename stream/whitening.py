"""Text vectors on their principal axes, each with the same variance. Letters: B base dimensions, T = 32 of text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.rows import products

Floats = NDArray[np.float32]

DIM = 32


def fit(base: Floats) -> tuple[Floats, Floats]:
    """Mean (B,) and basis (B, T) of a whitened PCA of the rows (N, B); rows of zeros are left out.

    >>> rows = np.random.default_rng(0).normal(0.0, np.arange(1, 41), (500, 40)).astype(np.float32)
    >>> mean, basis = fit(rows)
    >>> bool(np.allclose(np.cov(((rows - mean) @ basis).T, bias=True), np.eye(32), atol=1e-3))
    True
    """
    known = base[np.any(base != 0, axis=1)].astype(np.float64)
    if not len(known):
        return np.zeros(base.shape[1], np.float32), np.zeros((base.shape[1], DIM), np.float32)
    mean = known.mean(0)
    values, axes = np.linalg.eigh((known - mean).T @ (known - mean) / len(known))
    kept = min(DIM, base.shape[1])
    top, axes = np.maximum(values[::-1][:kept], 0.0), axes[:, ::-1][:, :kept]
    floor = 1e-3 * max(float(top[0]), 1e-12)  # directions with next to no variance are not blown up
    basis = np.zeros((base.shape[1], DIM))
    basis[:, :kept] = np.where(top > floor, axes / np.sqrt(np.maximum(top, floor)), 0.0)
    return mean.astype(np.float32), basis.astype(np.float32)


def project(base: Floats, mean: Floats, basis: Floats) -> Floats:
    """Projected texts of unit length; zero where there is no text (n, T)."""
    base = np.asarray(base, np.float32)
    projected = products(base - mean, basis.T)
    projected[~np.any(base != 0, axis=1)] = 0.0
    return unit(projected)


def joined(text: Floats, together: Floats) -> Floats:
    """Both parts side by side, of unit length (n, T + the other's)."""
    return unit(np.concatenate([text, together], axis=1))


def unit(rows: NDArray[np.floating]) -> Floats:
    """Rows of unit length; zeros stay zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0.0).astype(np.float32)
