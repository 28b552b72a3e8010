"""The head solved on fixed features, against scikit-learn and against what it must do by itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from striate.errors import Interrupted
from striate.linear_probe import assign_folds, fit_probe


def blobs(
    num: int, num_features: int, num_classes: int, seed: int = 0, spread: float = 2.0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    centres = draw.normal(0, 1, (num_classes, num_features))
    return (centres[labels] + draw.normal(0, spread, (num, num_features)) + 5).astype(np.float32), labels


@pytest.mark.parametrize(("num", "num_features"), [(90, 20), (40, 100)], ids=["more rows", "more features"])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_it_is_the_optimum_that_scikit_learn_finds(num: int, num_features: int, num_classes: int) -> None:
    features, labels = blobs(num, num_features, num_classes)
    probe = fit_probe(features[None], labels, num_classes)
    standard = (features - features.mean(0)) / features.std(0)
    # scikit-learn minimises C times the summed loss beside half the squared weights; of two classes it keeps one row, whose
    # squared norm is twice that of our two opposite rows.
    strength = 1 / (num * probe.decay) * (2 if num_classes == 2 else 1)
    theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(standard, labels).predict_proba(standard)
    logits = probe(features)
    ours = np.exp(logits - logits.max(1, keepdims=True))
    ours /= ours.sum(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_numbers_are_ridge_regression() -> None:
    features, _ = blobs(80, 12, 2)
    values = features @ np.linspace(-1, 1, 12) + np.random.default_rng(0).normal(0, 0.5, 80)
    probe = fit_probe(features[None], values, 1, "value")
    standard = (features - features.mean(0)) / features.std(0)
    theirs = Ridge(alpha=probe.decay * 80 / 2, tol=1e-10).fit(standard, values).predict(standard)
    np.testing.assert_allclose(probe(features)[:, 0], theirs, atol=1e-3 * values.std())


def test_several_labels_are_as_many_yes_or_no_questions() -> None:
    features, labels = blobs(120, 10, 3, spread=0.5)
    present = np.stack([labels == 0, labels != 1], axis=1).astype(np.float32)
    scores = fit_probe(features[None], present, 2, "labels")(features)
    assert ((scores > 0) == present).mean() > 0.98


def test_noise_asks_for_strong_decay_and_clear_classes_for_weak() -> None:
    features, labels = blobs(100, 60, 2, spread=0.05)
    clear = fit_probe(features[None], labels, 2)
    noise = fit_probe(np.random.default_rng(1).normal(size=(1, 100, 60)).astype(np.float32), labels, 2)
    assert clear.decay < noise.decay
    assert noise.decay >= 1
    assert noise.losses[noise.decay] == pytest.approx(np.log(2), abs=0.05), "it learns to say nothing"


def test_out_of_fold_scores_do_not_flatter() -> None:
    """Random labels on many features: fitted scores would be near perfect, held-out ones are chance."""
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(1, 200, 400)).astype(np.float32), draw.integers(0, 2, 200)
    probe = fit_probe(features, labels, 2)
    held_out = (probe.scores.argmax(1) == labels).mean()
    assert abs(held_out - 0.5) < 5 * 0.5 / np.sqrt(200)


def test_views_of_an_image_are_held_out_together_and_all_taught() -> None:
    """A second view that equals the first changes nothing; seen in training while its twin is scored, it would look perfect."""
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(1, 60, 200)).astype(np.float32), draw.integers(0, 2, 60)
    once, twice = fit_probe(features, labels, 2), fit_probe(np.repeat(features, 2, axis=0), labels, 2)
    assert once.decay == twice.decay
    np.testing.assert_allclose(once.weight, twice.weight, atol=1e-5)
    assert (twice.scores.argmax(1) == labels).mean() < 0.8


def test_a_feature_that_never_varies_gets_no_weight() -> None:
    features, labels = blobs(60, 8, 2)
    features[:, 3] = 7.0
    probe = fit_probe(features[None], labels, 2)
    assert (probe.weight[:, 3] == 0).all()
    assert np.isfinite(probe.weight).all()


def test_folds_are_stratified_and_keep_groups_together() -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 5])
    groups = np.arange(75)
    groups[[3, 9, 30]] = 3
    folds = assign_folds(labels, "label", 5, seed=1, groups=groups)
    assert len(set(folds[[3, 9, 30]])) == 1
    for label, count in ((0, 50), (1, 20), (2, 5)):
        assert np.bincount(folds[labels == label], minlength=5).min() >= count // 5 - 1


def test_it_stops_where_it_is_told_to() -> None:
    features, labels = blobs(40, 5, 2)

    def check() -> None:
        raise Interrupted("Stopped", 2)

    with pytest.raises(Interrupted):
        fit_probe(features[None], labels, 2, check=check)


def test_weighed_classes_are_said_as_often_as_they_would_be_in_even_data() -> None:
    """Two overlapping classes, ten to one: unweighed, the rare one is hardly ever said."""
    features, labels = blobs(1000, 5, 2, spread=3.0)
    rare = np.flatnonzero(labels == 1)[50:]
    keep = np.setdiff1d(np.arange(1000), rare)
    said = []
    for weights in (None, (0.55, 5.5)):
        probe = fit_probe(features[keep][None], labels[keep], 2, class_weights=weights)
        said.append((probe(features).argmax(1) == 1)[labels == 1].mean())
    assert said[0] < 0.3
    assert said[1] > 0.5
