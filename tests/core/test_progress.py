"""Logs of caffe train: progress of a training, and series read back; estimates of how long stages take."""

import io

import pytest

from tools.train import caffe_log, plan, training

LOG = """I1125 12:00:00.000000   123 solver.cpp:239] Iteration 0 (-nan iter/s, 0s/20 iters), loss = 2.5
I1125 12:00:01.000000   123 solver.cpp:414]     Test net output #0: accuracy_attribute = 0.75
I1125 12:00:02.000000   123 solver.cpp:239] Iteration 20 (10 iter/s, 2s/20 iters), loss = {loss}
"""


def shown(loss, later=0):
    stream = io.StringIO()
    bar = training.Progress("region", 0, 40, later, stream=stream)
    for line in LOG.format(loss=loss).splitlines():
        bar.line(line)
    bar.close(40)
    return bar, stream.getvalue()


def test_progress_lines_have_loss_accuracy_and_both_times_left():
    bar, text = shown(1.25, 1e15)
    assert bar.broken is None and bar.iteration == 20
    first, second = text.splitlines()
    assert first == "region: iteration 0 of 40, loss 2.5"
    assert second.startswith("region: iteration 20 of 40, loss 1.25, validation accuracy 0.750, ")
    assert " left, " in second and second.endswith(" for the run")


def test_multiply_adds_equal_those_of_the_architecture():
    parts = plan.parts()
    millions = [parts[name] / 1e6 for name in ("shared", "conv3", "task one", "task two")]
    assert millions == pytest.approx([549.5, 149.5, 379.1, 12.9], abs=0.05)
    quarter = plan.parts(1 / 4)
    assert parts["task two"] / quarter["task two"] == pytest.approx(16, rel=0.01)


WHOLE = """I1124 09:07:14.5 4760 solver.cpp:239] Iteration 0 (1.5 iter/s, 6.6s/10 iters), loss = 2.5
I1124 09:07:14.5 4760 solver.cpp:258]     Train net output #0: attributes_training = 3
I1124 09:07:14.5 4760 solver.cpp:258]     Train net output #1: loss_region = 2.5 (* 1 = 2.5 loss)
I1124 09:07:15.5 4760 sgd_solver.cpp:112] Iteration 0, lr = 0.0015
I1124 09:07:20.5 4760 solver.cpp:347] Iteration 10, Testing net (#0)
I1124 09:07:20.6 4760 solver.cpp:414]     Test net output #0: accuracy_region = 0.75
I1124 09:07:20.6 4760 solver.cpp:414]     Test net output #1: accuracy_region_each = 0.5
I1124 09:07:20.6 4760 solver.cpp:414]     Test net output #2: accuracy_region_each = 1
I1124 09:07:21.5 4760 solver.cpp:239] Iteration 10 (1.5 iter/s, 6.6s/10 iters), loss = 1e-05
I1124 09:07:21.5 4760 solver.cpp:258]     Train net output #0: attributes_training = 2
I1124 09:07:31.5 4760 solver.cpp:239] Iteration 10, loss = nan
""".splitlines()


def test_series_and_pauses_are_read_from_a_log():
    series = caffe_log.read(WHOLE)
    assert series["train", "attributes_training"] == [(0, 3), (10, 2)]
    assert series["train", "loss_region"] == [(0, 2.5)] and series["test", "accuracy_region"] == [(10, 0.75)]
    assert series["test", "accuracy_region_each"] == [(10, [0.5, 1])]
    (_, first), (iteration, last) = series["train", "loss"]
    assert first == 2.5 and iteration == 10 and last != last  # the later line counts
    assert caffe_log.changes(series["train", "attributes_training"]) == [(10, 3, 2)]
    resumed = caffe_log.read(WHOLE + WHOLE[4:8])  # an iteration that is logged twice
    assert resumed["test", "accuracy_region_each"] == [(10, [0.5, 1])]
    assert caffe_log.read([]) == {}
