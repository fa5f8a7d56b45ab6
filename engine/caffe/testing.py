"""The tests of a solver: its test nets run with the current weights, and the means of their outputs are logged."""

from . import glog
from .glog import number


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
    found, loss = [], 0.0
    for _ in range(count):
        while (request := (solver.test_action or solver.action)()) is not None:
            if request == "snapshot":
                solver.snapshot()
            else:
                solver.stopped = True
                break
        if solver.stopped:
            glog.info("Test interrupted.")
            return
        loss += net.forward_range(0, len(net.nodes) - 1)
        found.append(outputs(net))
    if solver.param.test_compute_loss:
        glog.info(f"Test loss: {number(loss / count)}")
    show(net, means(found), "    Test net output #{}: ")


def outputs(net):
    """Pairs (name of the blob, number) of all numbers in the output blobs of a net."""
    return [(name, value) for name in net.outputs for value in net.blob_map[name].value().reshape(-1).tolist()]


def means(batches):
    """The mean of each number over batches of `outputs`, as such pairs."""
    return [(pairs[0][0], sum(value for _, value in pairs) / len(batches)) for pairs in zip(*batches)]


def show(net, pairs, head=""):
    """Log pairs as of `outputs` as BVLC Caffe does, those with a loss weight also weighted.

    head: what comes before each; {} in it stands for the number of the pair
    """
    weight_of = net.blob_loss_weights
    for index, (name, value) in enumerate(pairs):
        weight = weight_of[name]
        loss = f" (* {number(weight)} = {number(weight * value)} loss)" if weight else ""
        glog.info(f"{head.format(index)}{name} = {number(value)}{loss}")
