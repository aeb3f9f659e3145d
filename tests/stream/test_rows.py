import numpy as np

from stream.rows import Rows, products


def test_rows_keep_what_they_hold_when_they_grow() -> None:
    rows = Rows(3)
    for i in range(300):
        rows.upto(i + 1)[i] = i
    assert len(rows) == 300
    assert rows.upto(300)[:, 2].tolist() == list(range(300))
    assert rows.upto(310)[300:].any() == np.False_


def test_fewer_rows_may_be_asked_for() -> None:
    rows = Rows(1)
    rows.upto(5)[:] = 1.0
    assert rows.upto(2).shape == (2, 1)
    assert len(rows) == 5


def test_a_product_does_not_depend_on_what_came_along() -> None:
    rng = np.random.default_rng(0)
    rows, matrix = rng.normal(size=(50, 384)).astype(np.float32), rng.normal(size=(32, 384)).astype(np.float32)
    together = products(rows, matrix)
    assert np.array_equal(together, np.vstack([products(rows[i : i + 1], matrix) for i in range(50)]))
    assert np.allclose(together, rows @ matrix.T, atol=1e-4)
