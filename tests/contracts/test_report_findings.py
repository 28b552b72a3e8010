"""What the report concludes: from the curves, from the predictions, and the round numbers of its axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import epoch_rows, guesses, write_run

from striate.report.findings import diagnose, loss_comments
from striate.report.run_folder import Predictions, read_run
from striate.report.scores import cell_members, confused_pairs, likely_label_errors
from striate.report.ticks import log_ticks, nice_ticks, whole_ticks


def diagnosed(tmp_path: Path, change: Callable[[int, dict[str, Any]], object], epochs: int = 20) -> str:
    """The clause about a run whose rows ``change(position, row)`` alters."""
    rows = epoch_rows(epochs)
    for i, row in enumerate(rows):
        change(i, row)
    target = np.arange(100) % 10
    folder = write_run(tmp_path / "run", guesses(target, 10), target, list("abcdefghij"), rows)
    found = diagnose(read_run(folder))
    return "" if found is None else found.clause


def losses(train: Callable[[int], float], validation: Callable[[int], float]) -> Callable[[int, dict[str, Any]], object]:
    return lambda i, row: row.update(train={"loss": train(i)}, validation={"loss": validation(i), "accuracy": 0.9})


def test_levelled_curves_are_sound(tmp_path: Path) -> None:
    assert diagnosed(tmp_path, lambda i, row: None) == "no overfitting was seen"


def test_a_jitter_is_not_overfitting(tmp_path: Path) -> None:
    jitter = losses(lambda i: 0.3 - 0.005 * i, lambda i: 0.3 + 0.02 * (i % 2))
    assert diagnosed(tmp_path, jitter) == "no overfitting was seen"


def test_rising_validation_loss_beside_falling_training_loss_is_overfitting(tmp_path: Path) -> None:
    rising = losses(lambda i: 0.5 * 0.9**i, lambda i: 0.3 + 0.01 * abs(i - 8))
    assert diagnosed(tmp_path, rising) == "it overfits: validation loss rose after epoch 9"


def test_both_losses_rising_is_not_overfitting(tmp_path: Path) -> None:
    assert "overfits" not in diagnosed(tmp_path, losses(lambda i: 0.3 + 0.01 * abs(i - 8), lambda i: 0.3 + 0.01 * abs(i - 8)))


def test_a_loss_that_still_falls_asks_for_more_epochs(tmp_path: Path) -> None:
    assert diagnosed(tmp_path, losses(lambda i: 2 * 0.9**i, lambda i: 2 * 0.9**i)) == "it was still improving when it stopped"


def test_a_loss_near_that_of_guessing_is_underfitting(tmp_path: Path) -> None:
    assert diagnosed(tmp_path, losses(lambda i: 2.28, lambda i: 2.30), epochs=2) == (
        "it underfits: training loss is hardly better than guessing"
    )


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    rows = epoch_rows(6)
    rows[3]["train"]["cross_entropy"] = float("nan")
    target = np.arange(100) % 10
    run = read_run(write_run(tmp_path / "run", guesses(target, 10), target, list("abcdefghij"), rows))
    assert loss_comments(run, diagnose(run))[-1] == "No finite training loss in 1 epoch, first in epoch 4."


# Scores


def predictions(probabilities: list[list[float]], target: list[int]) -> Predictions:
    n = len(target)
    return Predictions(np.arange(n), np.array([str(i) for i in range(n)]), np.array(target), np.array(probabilities, np.float32))


def test_label_errors_by_hand() -> None:
    # Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.9 + 0.7 + 0.45) / 3 = 0.683.
    said = predictions([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7], [0.55, 0.45]], [0, 0, 0, 1, 1, 1])
    found = likely_label_errors(said)
    # The third reaches class 1's threshold; the last is a mistake too, but 0.55 does not reach class 0's.
    assert found.position.tolist() == [2]
    assert found.suggested.tolist() == [1]
    assert found.margin.tolist() == pytest.approx([0.8], abs=1e-6)


def test_a_network_that_knows_little_doubts_no_label() -> None:
    draw = np.random.default_rng(0)
    probabilities = 0.1 + 0.02 * draw.random((200, 10))
    assert not len(likely_label_errors(predictions(probabilities.tolist(), draw.integers(0, 10, 200).tolist())).position)


def test_label_errors_ignore_classes_without_images() -> None:
    found = likely_label_errors(predictions([[0.2, 0.1, 0.7], [0.6, 0.3, 0.1]], [0, 1]))
    assert 2 not in found.suggested


def test_planted_label_errors_come_first() -> None:
    draw = np.random.default_rng(3)
    true = draw.integers(0, 5, 500)
    probabilities = guesses(true, 5, 6.0)
    right = np.flatnonzero(probabilities[np.arange(500), true] > 0.999)[:10]
    label = true.copy()
    label[right] = (true[right] + 2) % 5
    found = likely_label_errors(predictions(probabilities.tolist(), label.tolist()))
    assert set(right.tolist()) <= set(found.position.tolist())
    assert (np.diff(found.margin) <= 0).all()


def test_cells_hold_every_image_once_the_telling_ones_first() -> None:
    target = np.arange(200) % 4
    said = predictions(guesses(target, 4, 2.0).tolist(), target.tolist())
    members = cell_members(said)
    assert sorted(np.concatenate(list(members.values())).tolist()) == list(range(200))
    for (true, answered), positions in members.items():
        assert (target[positions] == true).all()
        assert (said.predicted[positions] == answered).all()
        order = np.diff(said.confidence[positions])
        assert (order >= 0).all() if true == answered else (order <= 0).all()


def test_pairs_are_the_cells_off_the_diagonal_by_count() -> None:
    pairs = confused_pairs(np.array([[5, 2, 0], [7, 1, 0], [0, 0, 0]]))
    assert [(pair.true, pair.predicted, pair.count) for pair in pairs] == [(1, 0, 7), (0, 1, 2)]
    assert [pair.share for pair in pairs] == [7 / 8, 2 / 7]


# Axes


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_even_ticks_enclose_their_values(low: float, spread: float) -> None:
    high = low + spread
    ticks = nice_ticks(low, high)
    margin = 1e-6 * max(abs(low), abs(high), 1e-6)
    assert ticks[0] <= low + margin
    assert ticks[-1] >= high - margin
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))


@given(st.floats(-8, 5), st.floats(1.5, 9))
def test_logarithmic_ticks_enclose_their_values(power: float, decades: float) -> None:
    low, high = 10.0**power, 10.0 ** (power + decades)
    ticks = log_ticks(low, high)
    assert ticks[0] <= low * 1.001
    assert ticks[-1] >= high * 0.999
    assert 2 <= len(ticks) <= 12


@given(st.integers(1, 50), st.integers(0, 5000))
def test_epoch_ticks_keep_both_ends(first: int, more: int) -> None:
    ticks = whole_ticks(first, first + more)
    assert (ticks[0], ticks[-1]) == (first, first + more)
    assert len(ticks) <= 7
