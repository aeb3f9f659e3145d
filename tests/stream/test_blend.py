import numpy as np
import pytest

from stream.blend import FACTS, FADE, FEATURES, FIRST, HARD, Blend, log_sum_exp, standardise

C, F = len(FACTS), len(FEATURES)
NEWCOMER = np.array([1.0, -0.5, -0.5, -0.5, 0.0])
ONE = np.eye(C)[0]  # nothing but what holds for everybody
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
    rng = np.random.default_rng(0)
    blend, features = Blend(50.0, weights=rng.normal(size=(C, F))), rng.normal(size=(F, 3))
    contributions = blend.weights_for(NEWCOMER) * features[:, 1]
    assert blend.expect(features, ALL, NEWCOMER).scores[1] == pytest.approx(contributions.sum())


def test_the_weights_are_linear_in_the_facts() -> None:
    blend = Blend(50.0)
    assert blend.weights_for(NEWCOMER).tolist() == [FIRST] * F  # at first the same for everybody
    blend.weights[1, 4] = 2.0
    assert blend.weights_for(NEWCOMER)[4] == pytest.approx(FIRST - 0.5 * 2.0)


def likelihood(weights: np.ndarray, features: np.ndarray, taken: list[int], rivals: list[int]) -> float:
    """How probable it is that each of `taken` comes before each of `rivals`, as a logarithm."""
    scores = (NEWCOMER @ weights) @ features
    return float(sum(-np.log1p(np.exp(scores[rival] - scores[item])) for item in taken for rival in rivals))


@pytest.mark.parametrize(("taken", "rivals"), [([2], [0, 1, 3]), ([2, 0], [1, 3]), ([0, 3, 2], [1])])
def test_the_gradient_is_that_of_the_pairwise_likelihood(taken: list[int], rivals: list[int]) -> None:
    rng = np.random.default_rng(1)
    features, step = rng.normal(size=(F, 4)), 1e-6
    blend = Blend(50.0, weights=rng.normal(size=(C, F)))
    gradient = blend.expect(features, np.ones(4, bool), NEWCOMER).gradient_of(taken) * 4  # it is a mean over four
    before = likelihood(blend.weights, features, taken, rivals)
    for c, f in np.ndindex(C, F):
        moved = blend.weights.copy()
        moved[c, f] += step
        slope = (likelihood(moved, features, taken, rivals) - before) / step
        assert gradient[c, f] == pytest.approx(slope, abs=1e-4)


def test_the_order_within_a_block_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    expected = Blend(50.0, weights=rng.normal(size=(C, F))).expect(rng.normal(size=(F, 9)), np.ones(9, bool), NEWCOMER)
    forth, back = expected.gradient_of([1, 5, 2, 8]), expected.gradient_of([8, 2, 5, 1])
    np.testing.assert_allclose(forth, back)
    np.testing.assert_array_equal(expected.gradient_of([1, 5, 1]), expected.gradient_of([1, 5]))  # twice is once


def test_only_the_best_candidates_teach() -> None:
    n = HARD + 50
    many = z(list(np.linspace(3.0, -3.0, n)))
    expected = Blend(50.0).expect(many, np.ones(n, bool), ONE)
    best = Blend(50.0).expect(many[:, :HARD], np.ones(HARD, bool), ONE)
    np.testing.assert_allclose(expected.gradient(5), best.gradient(5))
    assert not expected.gradient(HARD).any()  # the first that is not among them
    np.testing.assert_allclose(expected.gradient(5, [HARD + 3]), best.gradient(5))  # nor is there anything to take back


def test_items_that_are_no_candidates_do_not_count() -> None:
    candidates = np.array([True, True, False])
    near = Blend(50.0).expect(z([1.0, 0.0, 50.0]), candidates, ONE)
    assert near.hard.tolist() == [0, 1]
    assert near.gradient(0)[0, 0] == pytest.approx(1 / (1 + np.exp(FIRST)) / 2)


def test_one_newton_step() -> None:
    rng = np.random.default_rng(4)
    blend, gradient = Blend(7.0), rng.normal(size=(C, F))
    blend.learn(gradient)
    g = gradient.ravel()
    curvature = 7.0 * np.eye(C * F) + np.outer(g, g)  # what fades of the prior comes back
    np.testing.assert_allclose(blend.curvature, curvature, atol=1e-12)
    expected = FIRST * np.eye(C)[0][:, None] + np.linalg.solve(curvature, g).reshape(C, F)
    np.testing.assert_allclose(blend.weights, expected)
    blend.learn(np.zeros((C, F)))
    np.testing.assert_allclose(blend.curvature - 7.0 * np.eye(C * F), FADE * np.outer(g, g), atol=1e-12)


def test_a_copy_learns_on_its_own() -> None:
    rng = np.random.default_rng(5)
    one = Blend(7.0)
    one.learn(rng.normal(size=(C, F)))
    other, before = one.copy(), one.weights.copy()
    assert other.curvature.tolist() == one.curvature.tolist()
    other.learn(rng.normal(size=(C, F)))
    assert one.weights.tolist() == before.tolist() != other.weights.tolist()


def test_features_that_say_the_same_learn_as_fast_as_one() -> None:
    alone, twice = Blend(50.0), Blend(50.0)
    rng = np.random.default_rng(6)
    for _ in range(200):
        features = np.zeros((F, 20))
        features[0] = rng.normal(size=20)
        double = features.copy()
        double[1] = features[0]
        chosen = int(features[0].argmax())
        alone.learn(alone.expect(features, np.ones(20, bool), ONE).gradient(chosen))
        twice.learn(twice.expect(double, np.ones(20, bool), ONE).gradient(chosen))
    told, shared = alone.weights_for(ONE)[0], twice.weights_for(ONE)[:2]
    assert shared[0] == pytest.approx(shared[1])
    assert told < shared.sum() < 1.5 * told  # not the double of it, as two steps of one feature would be


def test_weights_find_the_feature_that_tells() -> None:
    rng = np.random.default_rng(2)
    blend = Blend(50.0)
    for _ in range(300):
        features = rng.normal(size=(F, 20))
        chosen = int(features[4].argmax())
        blend.learn(blend.expect(features, np.ones(20, bool), ONE).gradient(chosen))
    assert blend.weights_for(ONE).argmax() == 4


def test_people_with_another_past_get_other_weights() -> None:
    rng = np.random.default_rng(3)
    blend, regular = Blend(50.0), np.array([1.0, 0.5, 0.5, 0.0, 0.0])
    for _ in range(400):
        for person, feature in ((NEWCOMER, 2), (regular, 7)):
            features = rng.normal(size=(F, 20))
            blend.learn(blend.expect(features, np.ones(20, bool), person).gradient(int(features[feature].argmax())))
    assert [int(blend.weights_for(person).argmax()) for person in (NEWCOMER, regular)] == [2, 7]


def test_log_sum_exp_does_not_overflow() -> None:
    assert log_sum_exp(np.array([1e4, 1e4])) == pytest.approx(1e4 + np.log(2))
