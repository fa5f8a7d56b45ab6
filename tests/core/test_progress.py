"""Progress of a training, and estimates of how long stages take."""

import io

import pytest

from tools.train import estimate, progress

LOG = """I1125 12:00:00.000000   123 solver.cpp:239] Iteration 0 (-nan iter/s, 0s/20 iters), loss = 2.5
I1125 12:00:01.000000   123 solver.cpp:414]     Test net output #0: accuracy_attribute = 0.75
I1125 12:00:02.000000   123 solver.cpp:239] Iteration 20 (10 iter/s, 2s/20 iters), loss = {loss}
error: something went wrong
"""


def shown(loss, later=0):
    stream = io.StringIO()
    bar = progress.Progress("region", 0, 40, later, stream=stream)
    for line in LOG.format(loss=loss).splitlines():
        bar.line(line)
    bar.close(40)
    return bar, stream.getvalue()


def test_progress_lines_have_loss_accuracy_and_both_times_left():
    bar, text = shown(1.25, 1e15)
    assert bar.broken is None and bar.iteration == 20
    first, second, third = text.splitlines()
    assert first == "region: iteration 0 of 40, loss 2.5"
    assert second.startswith("region: iteration 20 of 40, loss 1.25, validation accuracy 0.750, ")
    assert " left, " in second and second.endswith(" days for the run") and third == "error: something went wrong"


@pytest.mark.parametrize("loss", ("nan", "-nan", "inf"))
def test_a_loss_that_is_not_finite_is_noticed(loss):
    assert shown(loss)[0].broken == (20, loss)


def test_multiply_adds_equal_those_of_the_architecture():
    parts = estimate.parts()
    millions = [parts[name] / 1e6 for name in ("shared", "conv3", "task one", "task two")]
    assert millions == pytest.approx([549.5, 149.5, 379.1, 12.9], abs=0.05)
    quarter = estimate.parts(1 / 4)
    assert parts["task two"] / quarter["task two"] == pytest.approx(16, rel=0.01)


@pytest.mark.parametrize(
    "seconds, words", [(42, "42 s"), (600, "10 min"), (9000, "2.5 h"), (3600 * 30, "30 h"), (86400 * 3, "3.0 days")]
)
def test_durations_are_written_in_words(seconds, words):
    assert estimate.duration(seconds) == words
