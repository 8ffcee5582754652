"""A few hostile inputs of every kind; `python -m tests.hostile` tries many."""

import importlib.util

import pytest

from tests.hostile.cases import GOOD, KINDS, judge, make

PRESENT = [kind for kind in KINDS if importlib.util.find_spec(f"tests.hostile.{kind}")]


@pytest.mark.parametrize("kind", PRESENT)
def test_hostile_inputs_are_refused_or_harmless(kind, tmp_path):
    bad = []
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = make(kind, 1, number, folder)
        outcome, why = judge(case)
        if outcome not in GOOD:
            bad.append(f"{number}: {case.what}: {outcome}: {why}")
    assert not bad, "\n".join(bad)
