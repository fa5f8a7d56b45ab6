"""Logs of caffe train, read back."""

from tools.train import caffe_log

LOG = """I1124 09:07:14.5 4760 solver.cpp:239] Iteration 0 (1.5 iter/s, 6.6s/10 iters), loss = 2.5
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
    series = caffe_log.read(LOG)
    assert series["train", "attributes_training"] == [(0, 3), (10, 2)]
    assert series["train", "loss_region"] == [(0, 2.5)] and series["test", "accuracy_region"] == [(10, 0.75)]
    assert series["test", "accuracy_region_each"] == [(10, [0.5, 1])]
    (_, first), (iteration, last) = series["train", "loss"]
    assert first == 2.5 and iteration == 10 and last != last  # the later line counts
    assert caffe_log.changes(series["train", "attributes_training"]) == [(10, 3, 2)]
    resumed = caffe_log.read(LOG + LOG[4:8])  # an iteration that is logged twice
    assert resumed["test", "accuracy_region_each"] == [(10, [0.5, 1])]
    assert caffe_log.read([]) == {}
