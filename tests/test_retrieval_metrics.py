"""Figures of embeddings: against brute force, against scikit-learn, and against distributions whose errors are known."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.retrieval_metrics import (
    equal_error_rate,
    recall_at_k,
    retrieval_average_precision,
    retrieval_figures,
    roc_auc,
    roc_curve,
    unit_length,
    verification_pairs,
)


@pytest.fixture(scope="module")
def sk() -> Any:
    """scikit-learn's metrics: a development oracle, never a dependency."""
    try:
        import sklearn.metrics
    except ImportError:
        pytest.skip("NOT RUN: needs scikit-learn, the oracle of the metrics")
    return sklearn.metrics


def clusters(seed: int, n: int = 90, num_classes: int = 7) -> tuple[Any, Any]:
    """Noisy directions of a few classes; the last class has one image only."""
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, num_classes - 1, n - 1), num_classes - 1)
    return rng.normal(size=(num_classes, 6))[labels] + 1.2 * rng.normal(size=(n, 6)), labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 20])
def test_recall_by_brute_force(seed: int, k: int) -> None:
    rows, labels = clusters(seed)
    cosine = unit_length(rows) @ unit_length(rows).T
    hits = []
    for i in range(len(rows) - 1):  # the last has no other of its class
        nearest = sorted((j for j in range(len(rows)) if j != i), key=lambda j: -cosine[i, j])[:k]
        hits.append(any(labels[j] == labels[i] for j in nearest))
    assert 0 < np.mean(hits) <= 1
    assert recall_at_k(rows, labels, k) == pytest.approx(np.mean(hits), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_mean_average_precision_against_scikit_learn(sk: Any, seed: int) -> None:
    rows, labels = clusters(seed)
    cosine = unit_length(rows) @ unit_length(rows).T
    areas = []
    for i in range(len(rows) - 1):
        others = np.arange(len(rows)) != i
        areas.append(sk.average_precision_score(labels[others] == labels[i], cosine[i, others]))
    assert retrieval_average_precision(rows, labels) == pytest.approx(np.mean(areas), rel=1e-9)


def test_retrieval_worked_by_hand() -> None:
    """On a quarter circle at 0, 10, 25, 45 and 90 degrees, classes a b a b c: the hits of a come second, those of b second."""
    angles = np.radians([0, 10, 25, 45, 90])
    rows, labels = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 1, 0, 1, 2])
    found = retrieval_figures(rows, labels, (1, 2, 3))
    # 0: 10 25 | 10: 0 25 45 | 25: 10 45 0 | 45: 25 10, so the ranks of the one match are 2, 3, 3, 2
    assert found.recall == {1: 0.0, 2: 0.5, 3: 1.0}
    assert found.mean_average_precision == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert found.num_queries == 4


def test_embeddings_that_are_all_one_find_nothing() -> None:
    """Ties go against the query, so a collapsed network does not look like a good one."""
    labels = np.repeat([0, 1], 10)
    found = retrieval_figures(np.ones((20, 3)), labels)
    assert found.recall == {1: 0.0, 5: 0.0}
    assert found.mean_average_precision == pytest.approx(9 / 19)
    scores = np.ones(190)
    assert equal_error_rate(verification_pairs(labels)[2], scores) == pytest.approx(0.5)


def test_without_a_match_there_is_no_figure() -> None:
    found = retrieval_figures(np.eye(3), np.arange(3))
    assert math.isnan(found.recall[1])
    assert math.isnan(found.mean_average_precision)
    for figure in (roc_auc, equal_error_rate):
        assert math.isnan(figure(np.ones(3, bool), np.arange(3.0)))
        assert math.isnan(figure(np.zeros(3, bool), np.arange(3.0)))
        assert math.isnan(figure(np.zeros(0, bool), np.zeros(0)))


def test_a_sample_of_queries_estimates_the_figure_of_all() -> None:
    """600 of 1,500 queries: 3.5 standard errors of a share, sqrt(p (1 - p) (1 / 600 - 1 / 1500)), at most."""
    rows, labels = clusters(0, n=1500)
    every, some = retrieval_figures(rows, labels), retrieval_figures(rows, labels, max_queries=600)
    assert some.num_queries == 600
    assert every.num_queries == 1499
    assert abs(some.recall[1] - every.recall[1]) < 3.5 * math.sqrt(0.25 * (1 / 600 - 1 / 1500))
    assert retrieval_figures(rows, labels, max_queries=5000) == every


def test_unit_length() -> None:
    rows = unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]


@pytest.mark.parametrize("decimals", [1, 8])
def test_roc_against_scikit_learn(sk: Any, decimals: int) -> None:
    """With few decimals most scores are tied."""
    rng = np.random.default_rng(0)
    same = rng.random(400) < 0.3
    scores = np.round(rng.normal(size=400) + same, decimals)
    false_accept, true_accept, thresholds = sk.roc_curve(same, scores, drop_intermediate=False)
    curve = roc_curve(same, scores)
    np.testing.assert_allclose(curve.false_accept, false_accept, rtol=1e-12)
    np.testing.assert_allclose(curve.true_accept, true_accept, rtol=1e-12)
    np.testing.assert_array_equal(curve.threshold, thresholds)
    assert roc_auc(same, scores) == pytest.approx(sk.roc_auc_score(same, scores), rel=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
def test_equal_error_rate_of_two_normal_distributions(distance: float) -> None:
    """Means d apart, deviation 1: the middle errs by Phi(-d / 2) on either side, and the area is Phi(d / sqrt 2)."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 4000) for i in range(4000)])
    same = np.repeat([True, False], 4000)
    scores = np.concatenate([quantiles + distance, quantiles])
    assert equal_error_rate(same, scores) == pytest.approx(NormalDist().cdf(-distance / 2), abs=2 / 4000)
    assert roc_auc(same, scores) == pytest.approx(NormalDist().cdf(distance / math.sqrt(2)), abs=2 / 4000)


def test_equal_error_rate_by_hand() -> None:
    apart = np.array([True, True, False, False])
    assert equal_error_rate(apart, np.array([4.0, 3.0, 2.0, 1.0])) == 0.0
    assert equal_error_rate(apart, np.array([1.0, 2.0, 3.0, 4.0])) == 1.0
    assert equal_error_rate(apart, np.array([4.0, 2.0, 3.0, 1.0])) == 0.5
    # one of 4 matches below all others, one of 2 others above three matches: at any threshold, 1/4 and 1/2 at best
    uneven = np.array([True] * 4 + [False] * 2)
    assert equal_error_rate(uneven, np.array([5.0, 4.0, 3.0, 0.0, 4.5, 1.0])) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_rates_where_the_errors_are_equal(pairs: list[tuple[bool, int]]) -> None:
    """Its definition, on the straight lines between thresholds; ranks alone count; swapping the kinds mirrors it."""
    same = np.array([p[0] for p in pairs])
    scores = np.array([p[1] for p in pairs], float)
    rate = equal_error_rate(same, scores)
    if same.all() or not same.any():
        assert math.isnan(rate)
        return
    curve = roc_curve(same, scores)
    gap = curve.false_accept - (1 - curve.true_accept)
    before, after = curve.false_accept[gap <= 0].max(), curve.false_accept[gap >= 0].min()
    assert before - 1e-12 <= rate <= after + 1e-12
    assert equal_error_rate(same, np.exp(scores)) == pytest.approx(rate, abs=1e-12)
    assert equal_error_rate(~same, -scores) == pytest.approx(rate, abs=1e-12)


def test_all_verification_pairs() -> None:
    first, second, same = verification_pairs(np.array([0, 1, 0, 2]))
    pairs = set(zip(first.tolist(), second.tolist(), same.tolist(), strict=True))
    assert pairs == {(0, 1, False), (0, 2, True), (0, 3, False), (1, 2, False), (1, 3, False), (2, 3, False)}


def test_drawn_verification_pairs_are_even_over_all_pairs() -> None:
    """60,000 draws of each kind over uneven classes: each unordered pair within 6 standard deviations of its share."""
    labels = np.array([2, 0, 1, 0, 2, 0, 3])
    first, second, same = verification_pairs(labels, 60_000, seed=1)
    assert same.sum() == (~same).sum() == 60_000
    np.testing.assert_array_equal(labels[first] == labels[second], same)
    assert (first != second).all()
    for kind in (True, False):
        chosen = same == kind
        pairs = np.sort(np.stack([first[chosen], second[chosen]]), axis=0)
        _, counts = np.unique(pairs, axis=1, return_counts=True)
        num = 4 if kind else 17  # of 21 pairs, three of class 0 and one of class 2 match
        assert len(counts) == num
        assert abs(counts - 60_000 / num).max() < 6 * math.sqrt(60_000 / num)


def test_a_kind_of_pair_that_does_not_exist_is_not_drawn() -> None:
    assert verification_pairs(np.array([0, 0, 0]), 10)[2].all()
    assert not verification_pairs(np.array([0, 1, 2]), 10)[2].any()
    assert len(verification_pairs(np.array([0]), 10)[0]) == 0
