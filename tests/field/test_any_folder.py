"""Any folder that anyone may have ends in masks, or in one clear message that names a file."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.field.folders import Drawn, draw
from tests.field.outcome import outcome

FOLDERS = st.randoms(use_true_random=False)
SOME = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def taken(rng, tmp_path_factory, *, run: bool) -> Drawn:
    root = tmp_path_factory.mktemp("any")
    drawn = draw(root / "my data", rng)
    ended = outcome(drawn, root / "out", run=run)
    assert not ended.traceback, f"{drawn.layout}\n{ended.traceback}"
    assert not ended.losses, f"{drawn.layout}: {ended.losses}\n{ended.text}"
    # what has nothing odd about it is taken
    assert not drawn.plain or ended.ended == "masks", f"{drawn.layout}\n{ended.text}"
    return drawn


@settings(SOME, max_examples=60)
@given(rng=FOLDERS)
def test_init_and_the_check_that_it_prints(tmp_path_factory, rng):
    taken(rng, tmp_path_factory, run=False)


@pytest.mark.slow
@settings(SOME, max_examples=12)
@given(rng=FOLDERS)
def test_the_run_that_it_prints(tmp_path_factory, rng):
    taken(rng, tmp_path_factory, run=True)
