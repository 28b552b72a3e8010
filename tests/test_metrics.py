"""Each figure against scikit-learn on random data, against cases worked by hand, and at its edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate import metrics


@pytest.fixture(scope="module")
def sk() -> Any:
    """scikit-learn's metrics: a development oracle, never a dependency."""
    try:
        import sklearn.metrics
    except ImportError:
        pytest.skip("NOT RUN: needs scikit-learn, the oracle of the metrics")
    return sklearn.metrics


def random_labels(seed: int, num_classes: int = 6, n: int = 300) -> tuple[Any, Any]:
    """Half of them right; class 4 never predicted, class 5 never true."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes - 1, n)
    predicted = np.where(rng.random(n) < 0.5, targets, rng.integers(0, num_classes, n))
    return targets, np.where(predicted == 4, 0, predicted)


@pytest.mark.parametrize("seed", range(3))
def test_labels_against_scikit_learn(sk: Any, seed: int) -> None:
    targets, predicted = random_labels(seed)
    confusion = metrics.confusion_matrix(targets, predicted, 6)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(targets, predicted, labels=range(6)))
    assert metrics.accuracy(targets, predicted) == pytest.approx(sk.accuracy_score(targets, predicted), rel=1e-12)
    assert metrics.macro_f1(confusion) == pytest.approx(sk.f1_score(targets, predicted, average="macro"), rel=1e-12)
    expected = sk.precision_recall_fscore_support(targets, predicted, labels=range(6), zero_division=0)
    for ours, theirs in zip(metrics.precision_recall_f1(confusion), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_class_absent_from_both_does_not_count(sk: Any) -> None:
    targets, predicted = np.array([0, 0, 2]), np.array([0, 2, 2])
    confusion = metrics.confusion_matrix(targets, predicted, 5)
    assert metrics.macro_f1(confusion) == pytest.approx(2 / 3) == sk.f1_score(targets, predicted, average="macro")
    assert metrics.precision_recall_f1(confusion).support.tolist() == [2, 0, 1, 0, 0]


def test_confusion_matrix_by_hand() -> None:
    """Rows are true. Two axes and an ignored value, as of masks."""
    targets = np.array([[0, 1], [255, 1]], np.uint8)
    predicted = np.array([[1, 1], [0, 0]])
    assert metrics.confusion_matrix(targets, predicted, 2, ignore=255).tolist() == [[0, 1], [1, 1]]
    assert metrics.confusion_matrix(targets[:0], predicted[:0], 2).sum() == 0
    with pytest.raises(ValueError, match=r"targets hold 0\.\.255, but classes are 0\.\.1"):
        metrics.confusion_matrix(targets, predicted, 2)
    with pytest.raises(ValueError, match=r"predicted hold -1"):
        metrics.confusion_matrix(predicted, predicted - 1, 2)


def test_wilson_interval_by_hand() -> None:
    """With z = 2, p = 1/2, n = 4: centre (1/2 + 4/8) / 2, half width 2·sqrt(1/16 + 4/64) / 2."""
    low, high = metrics.wilson_interval(2, 4, z=2.0)
    assert (low, high) == pytest.approx((0.5 - math.sqrt(1 / 8), 0.5 + math.sqrt(1 / 8)))
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    assert metrics.wilson_interval(0, 10)[0] == 0.0
    assert metrics.wilson_interval(10, 10)[1] == 1.0
    assert metrics.wilson_interval(10, 10)[0] == pytest.approx(10 / (10 + 1.96**2))


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_bounds_solve_the_score_equation(n: int, share: float) -> None:
    """Its definition: the proportions q at which |p - q| = z·sqrt(q(1 - q)/n)."""
    correct = round(share * n)
    p, bounds = correct / n, metrics.wilson_interval(correct, n)
    assert 0 <= bounds[0] <= p <= bounds[1] <= 1
    for q in bounds:
        assert (p - q) ** 2 == pytest.approx(1.96**2 * q * (1 - q) / n, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_against_scikit_learn(sk: Any, k: int) -> None:
    rng = np.random.default_rng(k)
    targets, scores = rng.integers(0, 7, 200), rng.random((200, 7))
    expected = sk.top_k_accuracy_score(targets, scores, k=k, labels=range(7))
    assert metrics.top_k_accuracy(targets, scores, k) == pytest.approx(expected, rel=1e-12)


def test_top_k_ties_go_to_the_lower_class() -> None:
    """A network that says the same of every class is right about the first k, not about all."""
    targets, scores = np.arange(4), np.ones((4, 4))
    assert [metrics.top_k_accuracy(targets, scores, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert metrics.top_k_hits(targets, scores, 1).tolist() == (scores.argmax(axis=1) == targets).tolist()


def test_top_k_never_counts_nan() -> None:
    scores = np.full((3, 4), np.nan)
    assert metrics.top_k_accuracy(np.array([0, 1, 3]), scores, k=3) == 0.0
    assert math.isnan(metrics.top_k_accuracy(np.zeros(0, int), np.zeros((0, 4))))
    assert math.isnan(metrics.accuracy(np.zeros(0), np.zeros(0)))


def test_reliability_by_hand() -> None:
    """Bins (0, .25], (.25, .5], (.5, .75], (.75, 1]: an edge belongs to the bin below it, 0 to the first."""
    confidence = np.array([0.0, 0.25, 0.5, 0.9, 1.0])
    correct = np.array([False, True, False, True, True])
    bins = metrics.reliability_bins(confidence, correct, num_bins=4)
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bins.counts.tolist() == [2, 1, 0, 2]
    np.testing.assert_allclose(bins.confidence, [0.125, 0.5, np.nan, 0.95])
    np.testing.assert_allclose(bins.accuracy, [0.5, 0, np.nan, 1])
    expected = (2 * 0.375 + 1 * 0.5 + 2 * 0.05) / 5
    assert metrics.expected_calibration_error(confidence, correct, num_bins=4) == pytest.approx(expected)
    assert math.isnan(metrics.expected_calibration_error(confidence[:0], correct[:0]))


def test_calibration_of_an_honest_and_of_a_boastful_network() -> None:
    """Right as often as it says: near 0 (the noise of 100,000 draws in 15 bins); always sure, half right: 0.5."""
    rng = np.random.default_rng(0)
    confidence = rng.random(100_000)
    assert metrics.expected_calibration_error(confidence, rng.random(100_000) < confidence) < 0.01
    assert metrics.expected_calibration_error(np.ones(10, np.float32), np.arange(10) % 2 == 0) == pytest.approx(0.5)


@pytest.mark.parametrize("levels", [3, 1000])
def test_average_precision_against_scikit_learn(sk: Any, levels: int) -> None:
    """Few levels: nearly every score is tied with others."""
    rng = np.random.default_rng(levels)
    targets, scores = rng.random((100, 4)) < 0.3, rng.integers(0, levels, (100, 4)) / levels
    for k in range(4):
        expected = sk.average_precision_score(targets[:, k], scores[:, k])
        assert metrics.average_precision(targets[:, k], scores[:, k]) == pytest.approx(expected, rel=1e-12)
    expected = sk.average_precision_score(targets, scores, average="macro")
    assert metrics.mean_average_precision(targets, scores) == pytest.approx(expected, rel=1e-12)


def test_average_precision_edges() -> None:
    """Hits at ranks 1 and 3 of 3: (1/1 + 2/3) / 2. Without a positive it has no value and leaves the mean alone."""
    scores = np.array([0.9, 0.8, 0.7])
    assert metrics.average_precision(np.array([1, 0, 1]), scores) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision(np.array([1, 0, 0]), np.ones(3)) == pytest.approx(1 / 3)
    assert math.isnan(metrics.average_precision(np.zeros(3), scores))
    assert math.isnan(metrics.average_precision(np.zeros(0), np.zeros(0)))
    both = metrics.mean_average_precision(np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.5], [0.1, 0.4]]))
    assert both == 1.0
    assert math.isnan(metrics.mean_average_precision(np.zeros((3, 2)), np.ones((3, 2))))


def test_numbers_against_scikit_learn(sk: Any) -> None:
    """Single precision far from 0: sums in double."""
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=1000) + 1e4).astype(np.float32)
    predicted = (targets + rng.normal(size=1000)).astype(np.float32)
    assert metrics.r2(targets, predicted) == pytest.approx(sk.r2_score(targets, predicted), rel=1e-6)
    exact = np.abs(targets.astype(np.float64) - predicted.astype(np.float64)).mean()
    assert metrics.mean_absolute_error(targets, predicted) == pytest.approx(exact, rel=1e-12)


def test_numbers_by_hand() -> None:
    targets = np.array([1.0, 2.0, 3.0])
    assert metrics.r2(targets, np.full(3, 2.0)) == 0.0
    assert metrics.r2(targets, targets) == 1.0
    assert metrics.r2(targets, targets[::-1]) == pytest.approx(1 - 8 / 2)
    assert metrics.mean_absolute_error(targets, targets[::-1]) == pytest.approx(4 / 3)
    assert math.isnan(metrics.r2(np.ones(3), targets))
    assert math.isnan(metrics.r2(targets[:0], targets[:0]))
    assert math.isnan(metrics.mean_absolute_error(targets[:0], targets[:0]))


def test_mean_iou_against_scikit_learn(sk: Any) -> None:
    targets, predicted = random_labels(0)
    expected = sk.jaccard_score(targets, predicted, average="macro")
    assert metrics.mean_iou(metrics.confusion_matrix(targets, predicted, 8)) == pytest.approx(expected, rel=1e-12)


def test_mean_iou_by_hand() -> None:
    """Class 0: 1 pixel in common of 2; class 1: 1 of 2; class 2 nowhere; the pixel of 255 is neither right nor wrong."""
    targets, predicted = np.array([0, 0, 1, 255]), np.array([0, 1, 1, 0])
    assert metrics.mean_iou(metrics.confusion_matrix(targets, predicted, 3, ignore=255)) == pytest.approx(0.5)
    assert math.isnan(metrics.mean_iou(np.zeros((3, 3), np.int64)))


def test_psnr_by_hand() -> None:
    """An error of a tenth of the peak everywhere is 20 dB, on either scale."""
    assert metrics.psnr(np.zeros((2, 2)), np.full((2, 2), 0.1)) == pytest.approx(20)
    assert metrics.psnr(np.zeros(4, np.uint8), np.array([0, 51, 51, 0], np.uint8), peak=255) == pytest.approx(
        -10 * np.log10(0.02)
    )
    assert metrics.psnr(np.ones(3), np.ones(3)) == math.inf


def test_box_iou_by_hand() -> None:
    """A unit shift of a 2 x 2 box shares 2 of 6 pixels; boxes that only touch share none; a point has no area."""
    boxes = np.array([[0, 0, 2, 2]], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(metrics.box_iou(boxes, others), [[1, 1 / 3, 0, 0, 0]])
    np.testing.assert_array_equal(metrics.box_iou(others[4:], others[4:]), [[0]])
    assert metrics.box_iou(boxes[:0], others).shape == (0, 5)


SQUARE, FAR = np.array([[0.0, 0, 10, 10]]), np.array([[50.0, 50, 60, 60]])


def test_box_average_precision_by_hand() -> None:
    """Two true boxes; found: one right, one wrong, then the other. Precisions 1, 1/2, 2/3, made monotone 1, 2/3, 2/3."""
    truths = [SQUARE, SQUARE]
    detections = [(np.concatenate([SQUARE, FAR]), np.array([0.9, 0.8])), (SQUARE, np.array([0.7]))]
    assert metrics.box_average_precision(truths, detections) == pytest.approx((1 + 2 / 3) / 2)


def test_a_true_box_is_found_once() -> None:
    """A second detection of it is a false one, and a better overlap does not redeem a lower score."""
    twice = [(np.concatenate([SQUARE + 1, SQUARE]), np.array([0.9, 0.8]))]
    assert metrics.box_average_precision([np.concatenate([SQUARE, FAR])], twice) == pytest.approx(0.5)
    assert metrics.box_average_precision([FAR], [(np.concatenate([SQUARE, FAR]), np.array([0.9, 0.8]))]) == pytest.approx(0.5)


def test_box_average_precision_edges() -> None:
    """At the threshold counts; images without boxes or detections; nothing true at all."""
    half, none = np.array([[0.0, 0, 10, 5]]), (np.zeros((0, 4)), np.zeros(0))
    assert metrics.box_average_precision([SQUARE], [(half, np.ones(1))], iou=0.5) == 1.0
    assert metrics.box_average_precision([SQUARE], [(half, np.ones(1))], iou=0.51) == 0.0
    assert metrics.box_average_precision([SQUARE, SQUARE[:0]], [none, (FAR, np.ones(1))]) == 0.0
    assert metrics.box_average_precision([SQUARE], [none]) == 0.0
    assert math.isnan(metrics.box_average_precision([SQUARE[:0]], [(FAR, np.ones(1))]))
