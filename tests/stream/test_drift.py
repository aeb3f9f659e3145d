"""Signals of one person's newest items, and the detector over them."""

from __future__ import annotations

from math import exp, inf

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stream.drift import KNOWN, LEAST, WINDOW, Detector, Weights, evidence, features, page_hinkley
from stream.errors import BadRecord

WEIGHTS = Weights(bias=0.5, text=-2.0, together=-1.0, repeat=-4.0, usual=0.4)


def vector(text: float, together: float) -> np.ndarray:
    """A vector of the drift space with one number in either half."""
    out = np.zeros(64, np.float32)
    out[0], out[32] = text, together
    return out


def test_features_are_projections_on_the_reference_and_repeats() -> None:
    window = np.stack([vector(0.6, 0.8), vector(-0.6, 0.1)])
    found = features(window, vector(0.2, -3.0), np.array([True, False]))
    assert_allclose(found, [[0.6, -0.8, 1.0], [-0.6, -0.1, 0.0]], rtol=1e-6)
    assert not features(window, vector(0, 0), np.array([False, False])).any()  # without a direction nothing is known


def test_signals_are_logistic() -> None:
    (found,) = WEIGHTS.signals(np.array([[0.25, 0.5, 1.0]]))
    assert found == pytest.approx(1 / (1 + exp(-(0.5 - 2 * 0.25 - 0.5 - 4.0))))


def test_a_person_is_compared_with_what_was_before_the_newest_items() -> None:
    old, new = [f"a{n}" for n in range(20)], [f"b{n}" for n in range(WINDOW)]
    vectors = np.stack([*[vector(0.5, 0.5)] * 20, *[vector(-0.5, -0.5)] * WINDOW])
    signals = Detector(WEIGHTS, 3.0).signals([*old, *new], vectors)
    assert signals == pytest.approx([1 / (1 + exp(-(0.5 + 1.0 + 0.5)))] * WINDOW)
    again = Detector(WEIGHTS, 3.0).signals([*old, "a3", *new[1:]], vectors)
    assert again[0] == pytest.approx(1 / (1 + exp(-(0.5 + 1.0 + 0.5 - 4.0))))
    assert again[1:] == signals[1:]


def test_nothing_is_said_of_few_items() -> None:
    detector = Detector(WEIGHTS, 3.0)
    items = [f"a{n}" for n in range(LEAST)] + [f"b{n}" for n in range(WINDOW)]
    vectors = np.stack([*[vector(0.5, 0.5)] * LEAST, *[vector(-0.5, -0.5)] * WINDOW])
    assert detector.look(items[1:], vectors[1:]) is None
    found = detector.look(items, vectors)
    assert found is not None
    assert (found.signal, found.threshold) == ("likelihood", 3.0)


def test_the_statistic_is_the_sum_above_the_usual_signal() -> None:
    values = [0.2] * 5 + [0.9] * 5
    found = Detector(WEIGHTS, 1.4).flagged(values)
    assert found is not None
    assert found.evidence == pytest.approx(3 * (0.9 - 0.4), abs=1e-4)  # flagged as soon as it is above 1.4
    assert evidence(np.array(values), 0.4) == pytest.approx(5 * (0.9 - 0.4))


@pytest.mark.parametrize("above", [True, False])
def test_it_flags_what_the_statistic_says(above: bool) -> None:
    rng = np.random.default_rng(5)
    for values in rng.uniform(0, 1, (200, WINDOW)):
        highest = float(evidence(values, WEIGHTS.usual))
        flagged = Detector(WEIGHTS, highest * (0.999 if above else 1.001)).flagged(values.tolist())
        assert (flagged is not None) == above


def test_river_knows_the_usual_signal_from_the_start() -> None:
    detector = page_hinkley(2.0, usual=0.4)
    detector.update(0.9)  # type: ignore[no-untyped-call]
    held = vars(detector)
    assert held["_sum_increase"] - held["_min_increase"] == pytest.approx(0.5 * (1 - 1 / (KNOWN + 1)))


def test_without_a_threshold_it_is_off() -> None:
    assert not Detector(WEIGHTS).on
    assert not Detector(WEIGHTS, inf).on
    assert Detector(WEIGHTS, 3.0).on


def test_a_detector_is_the_same_as_numbers() -> None:
    made = Detector(WEIGHTS, 3.0, 2.0)
    back = Detector.of(made.numbers())
    assert (back.weights, back.threshold, back.reacts, back.on) == (WEIGHTS, 3.0, 2.0, True)
    assert (made.limits(), Detector(WEIGHTS).limits()) == ({"threshold": 3.0, "reacts": 2.0}, {})
    with pytest.raises(BadRecord, match="detector must be seven numbers"):
        Detector.of([1.0, 2.0])
