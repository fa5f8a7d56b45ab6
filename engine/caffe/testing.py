"""The tests of a solver: its test nets run with the current weights, and the means of their outputs are logged."""

from . import glog

number = glog.number


def run(solver):
    """Run the tests of all test nets. A "stop" that test_action returns sets solver.stopped and ends them."""
    for index, net in enumerate(solver.test_nets):
        if not solver.stopped:
            run_net(solver, index, net)


def run_net(solver, index, net):
    """Run test net number `index` for test_iter batches and log the mean of each output, as BVLC's Solver::Test."""
    count = solver.param.test_iter[index]
    glog.info(f"Iteration {solver.iter}, Testing net (#{index})")
    net.share_with(solver.net)
    sums, loss = None, 0.0
    for _ in range(count):
        while (request := solver.test_action()) is not None:
            if request == "snapshot":
                solver.snapshot()
            else:
                solver.stopped = True
        if solver.stopped:
            glog.info("Test interrupted.")
            return
        loss += net.forward_range(0, len(net.nodes) - 1)
        scores = values(net)
        sums = scores if sums is None else [a + b for a, b in zip(sums, scores)]
    if solver.param.test_compute_loss:
        glog.info(f"Test loss: {number(loss / count)}")
    names, weight_of = output_names(net), net.blob_loss_weights
    for output, (name, total) in enumerate(zip(names, sums or [])):
        glog.info(f"    Test net output #{output}: {score(name, total / count, weight_of[name])}")


def values(net):
    """The numbers in all output blobs of a net, as a flat list of floats."""
    return [value for name in net.outputs for value in net.blob_map[name].value().reshape(-1).tolist()]


def output_names(net):
    """For each number of `values`, the name of the output blob that contains it."""
    return [name for name in net.outputs for _ in range(net.blob_map[name].count)]


def score(name, value, weight):
    """An output value as BVLC Caffe's log shows it; with a loss weight, also the weighted value."""
    text = f"{name} = {number(value)}"
    return text + f" (* {number(weight)} = {number(weight * value)} loss)" if weight else text
