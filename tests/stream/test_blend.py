import numpy as np
import pytest

from stream.blend import FEATURES, Blend, log_sum_exp, standardise

F = len(FEATURES)
ALL = np.ones(3, bool)


def z(first_row: list[float]) -> np.ndarray:
    out = np.zeros((F, len(first_row)))
    out[0] = first_row
    return out


def test_features_are_standardised_over_the_candidates_only() -> None:
    candidates = np.array([True, True, False])
    out = standardise(np.array([[1.0, 3.0, 100.0], [5.0, 5.0, 9.0]]), candidates)
    assert out[0].tolist() == [-1.0, 1.0, 98.0]
    assert out[1].tolist() == [0.0, 0.0, 0.0]  # constant over the candidates


def test_the_score_is_the_sum_of_the_contributions() -> None:
    blend = Blend(0.1)
    features = np.random.default_rng(0).normal(size=(F, 3))
    assert blend.scores(features)[1] == pytest.approx(sum(blend.weights * features[:, 1]))


def test_the_loss_is_the_cross_entropy() -> None:
    expected = Blend(0.1).expect(z([1.0, 0.0, -1.0]), ALL)
    odds = np.exp([0.3, 0.0, -0.3])
    assert expected.loss(0) == pytest.approx(-np.log(odds[0] / odds.sum()))


def test_the_gradient_is_that_of_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    features, step = rng.normal(size=(F, 3)), 1e-6
    blend = Blend(0.1, weights=rng.normal(size=F))
    gradient = blend.expect(features, ALL).gradient(2)
    for f in range(F):
        nudged = Blend(0.1, weights=blend.weights + step * np.eye(F)[f])
        slope = (blend.expect(features, ALL).loss(2) - nudged.expect(features, ALL).loss(2)) / step
        assert gradient[f] == pytest.approx(slope, abs=1e-4)


def test_items_that_are_no_candidates_do_not_count() -> None:
    candidates = np.array([True, True, False])
    near = Blend(0.1).expect(z([1.0, 0.0, 50.0]), candidates)
    assert near.loss(0) == pytest.approx(np.log(np.exp(0.3) + 1) - 0.3)


def test_one_step_of_adagrad() -> None:
    blend = Blend(0.05)
    gradient = np.zeros(F)
    gradient[0] = 2.0
    blend.learn(gradient)
    assert blend.weights[0] == pytest.approx(0.3 + 0.05 * 2.0 / np.sqrt(0.01 + 4.0))
    assert blend.weights[1:].tolist() == [0.3] * (F - 1)


def test_weights_find_the_feature_that_tells() -> None:
    rng = np.random.default_rng(2)
    blend = Blend(0.05)
    for _ in range(300):
        features = rng.normal(size=(F, 20))
        chosen = int(features[4].argmax())
        blend.learn(blend.expect(features, np.ones(20, bool)).gradient(chosen))
    assert blend.weights.argmax() == 4


def test_log_sum_exp_does_not_overflow() -> None:
    assert log_sum_exp(np.array([1e4, 1e4])) == pytest.approx(1e4 + np.log(2))
