"""What a run says before it starts."""

from __future__ import annotations

import pytest

from striate.data.formats import open_source
from striate.data.split import make_split
from striate.plan import Plan
from striate.recipe import Recipe, Resolved
from striate.subject import make_subject


@pytest.mark.parametrize("number", [1, 2])
def test_the_plan_counts_in_plain_words(number: int) -> None:
    source = open_source("demo:fashion")
    subject = make_subject("mlp", source, Recipe())
    resolved = Resolved(epochs=number, threads=number, micro_batch=128)
    plan = Plan(subject, source, make_split(source), Recipe(), resolved, number, 0.1, None, ())
    rows, plural = dict(plan.rows()), "s" * (number > 1)
    assert f"{number} epoch{plural} of {number} step{plural}, batch" in rows["recipe"]
    assert f", {number} thread{plural}, " in rows["machine"]
