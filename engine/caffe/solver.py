"""Solvers: train, test, snapshot and resume a net as a SolverParameter says, with the log lines of BVLC Caffe."""

import math
import os
import time

from google.protobuf import text_format

from . import context, durable, glog, snapshot, solver_param, testing, weights
from .errors import CaffeError, check
from .glog import number
from .optimizer import Optimizer
from .passes import Passes
from .proto import caffe_pb2
from .solver_param import read_solver
from .updates import RULES, find_rule


class Solver:
    """Trains `net`, a caffe.Net; `test_nets` share its weights. The subclasses have the names of Caffe's solver types.

    solver_file: the path of a prototxt, or a SolverParameter. Raises CaffeError.
    param: its SolverParameter; iter: number of updates so far
    action: a function called after every iteration that returns "stop", "snapshot" or None
    test_action: called instead of it before every batch of a test, or None; separate because only rank 0 runs tests,
        whereas the ranks call `action` together
    stopped: whether an action has stopped the training
    """

    kind = param = net = None
    iter = 0
    test_nets = ()

    def __init__(self, solver_file):
        given = isinstance(solver_file, caffe_pb2.SolverParameter)
        param = self.param = solver_file if given else read_solver(str(solver_file))
        rule = find_rule(self.kind or param.type)(param)
        solver_param.check_solver(param)
        if param.random_seed >= 0:
            context.set_random_seed(param.random_seed + context.solver_rank())
        if context.solver_rank() == 0:
            solver_param.check_prefix(param)
        glog.info("Initializing solver from parameters:\n" + text_format.MessageToString(param))
        if context.solver_rank() == 0 and param.snapshot_prefix:
            for name in durable.delete_partials(param.snapshot_prefix):
                glog.info(f"Deleted {name}, an incomplete file of a training that was killed")
        self.iter = 0
        self.net = solver_param.train_net(param)
        self.test_nets = list(solver_param.test_nets(param)) if context.solver_rank() == 0 else []
        # With iter_size, the first pass of an iteration sets the gradients, and the others add to them.
        self.passes = Passes(self.net) if param.iter_size == 1 else Passes(self.net, recorder=None)
        self.optimizer = Optimizer(param, self.net, rule)
        self._callbacks = []
        self._losses, self._smoothed = [], 0.0
        self._last_snapshot = None
        self.stopped = False
        self.action = lambda: None
        self.test_action = None
        for path in (part.strip() for value in param.weights for part in value.split(",")):
            glog.info(f"Finetuning from {path}")
            for net in (self.net, *self.test_nets):
                net.copy_from(path)
        glog.info("Solver scaffolding done.")

    # The interface of pycaffe -----------------------------------------------------------------------------------

    @property
    def lr(self):
        """The learning rate of the next update."""
        return self.optimizer.rate(self.iter)

    def add_callback(self, on_start, on_gradients_ready):
        """Call on_start() before the passes and on_gradients_ready() before the update of every iteration."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net):
        """Share the trained weights with another net, whose layers have the same names. Raises CaffeError."""
        net.share_with(self.net)

    # Training ---------------------------------------------------------------------------------------------

    def solve(self, resume_file=None):
        """Train up to max_iter, test and write snapshots; resume_file: a .solverstate to resume from.

        Raises CaffeError, as `step` does.
        """
        param = self.param
        glog.info(f"Solving {self.net.name}")
        glog.info(f"Learning Rate Policy: {param.lr_policy}")
        self.stopped = False
        if resume_file:
            glog.info(f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        start = self.iter
        self.step(param.max_iter - self.iter)
        if param.snapshot_after_train and (not param.snapshot or self.iter % param.snapshot):
            self.snapshot()
        if self.stopped:
            glog.info("Optimization stopped early.")
            return
        if param.display and self.iter % param.display == 0:
            self._smooth(self._check_loss(self.net.forward_range(0, len(self.net.nodes) - 1)), start)
            glog.info(f"Iteration {self.iter}, loss = {number(self._smoothed)}")
        if param.test_interval and self.iter % param.test_interval == 0:
            testing.run(self)
        glog.info("Optimization Done.")

    def step(self, iterations):
        """Train for a number of iterations, with tests, log lines and snapshots at their intervals.

        The loss of an iteration is the mean over iter_size passes; the log shows its mean over average_loss iterations.
        Raises CaffeError if the loss is not finite or a snapshot cannot be written.
        """
        param, net = self.param, self.net
        start = self.iter
        stop = start + iterations
        self._losses, self._smoothed = [], 0.0
        since, displayed = time.perf_counter(), start
        while self.iter < stop:
            net.clear_param_diffs()
            if (
                param.test_interval
                and self.iter % param.test_interval == 0
                and (self.iter > 0 or param.test_initialization)
            ):
                testing.run(self)
                if self.stopped:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = param.display and self.iter % param.display == 0
            net.debug_info = bool(display and param.debug_info)
            loss = 0.0
            for _ in range(param.iter_size):
                loss += self.passes.run()
            self._smooth(self._check_loss(loss / param.iter_size), start)
            if display:
                lapse = time.perf_counter() - since
                rate = (self.iter - displayed) / (lapse or 1)
                glog.info(
                    f"Iteration {self.iter} ({number(rate)} iter/s, {number(lapse)}s/{param.display} iters), "
                    f"loss = {number(self._smoothed)}"
                )
                since, displayed = time.perf_counter(), self.iter
                testing.show(net, testing.outputs(net), "    Train net output #{}: ")
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            request = self.action()
            if (param.snapshot and self.iter % param.snapshot == 0) or request == "snapshot":
                self.snapshot()
            if request == "stop":
                self.stopped = True
                break

    def _check_loss(self, loss):
        """Return a loss. Raises CaffeError, which ends the training, if it is nan or infinite."""
        if not math.isfinite(loss):
            raise CaffeError(self._divergence_message(f"the loss is {number(loss)}"))
        return loss

    def _divergence_message(self, what):
        """The error message for a training that has diverged: what is not finite, the last snapshot, what to change."""
        param = self.param
        clip = number(param.clip_gradients) if param.clip_gradients >= 0 else "off"
        last = f"the last good snapshot is {self._last_snapshot}" if self._last_snapshot else "there is no snapshot yet"
        return (
            f"iteration {self.iter}: {what}, so training stops here; {last}; try a lower base_lr (now "
            f"{number(param.base_lr)}) or clip_gradients (now {clip})"
        )

    def apply_update(self):
        """Update the weights by their gradients, and count the iteration."""
        self.optimizer.update(self.iter)
        self.iter += 1

    def _smooth(self, loss, start):
        """Update the mean of the last average_loss losses; start: iteration at which `step` began."""
        window = self.param.average_loss
        if len(self._losses) < window:
            self._losses.append(loss)
            self._smoothed += (loss - self._smoothed) / len(self._losses)
        else:
            at = (self.iter - start) % window
            self._smoothed += (loss - self._losses[at]) / window
            self._losses[at] = loss

    # Snapshots --------------------------------------------------------------------------------------------

    def snapshot(self):
        """Write weights and state to snapshot_prefix_iter_N.caffemodel and .solverstate (HDF5: with .h5 at the end).

        Both files get their names only once both are completely on the disk. Other ranks than 0 write nothing.
        Raises CaffeError if a file cannot be written or weights are not finite; older snapshots are then unchanged.
        """
        if context.solver_rank() != 0:
            return
        param = self.param
        check(param.snapshot_prefix, "a snapshot needs snapshot_prefix in the solver")
        layer = self.optimizer.non_finite_layer()
        if layer is not None:
            raise CaffeError(self._divergence_message(f"weights of layer {layer!r} are not finite"))
        hdf5 = param.snapshot_format == caffe_pb2.SolverParameter.HDF5
        ending, kind = (".h5", "HDF5 file") if hdf5 else ("", "binary proto file")
        model, state = (f"{param.snapshot_prefix}_iter_{self.iter}.{e}{ending}" for e in ("caffemodel", "solverstate"))
        content = snapshot.State(self.iter, self.optimizer.step, model, self.optimizer.arrays())

        def write_model(path):
            glog.info(f"Snapshotting to {kind} {model}")
            (weights.write_hdf5 if hdf5 else weights.write)(self.net, path, param.snapshot_diff)

        def write_state(path):
            glog.info(f"Snapshotting solver state to {kind} {state}")
            (snapshot.write_hdf5 if hdf5 else snapshot.write)(path, content)

        try:
            durable.write_files([(model, write_model), (state, write_state)])
        except CaffeError as error:
            kept = f"the last one is {self._last_snapshot}" if self._last_snapshot else "there is none before it"
            raise CaffeError(f"{error}; no snapshot of iteration {self.iter} was kept, {kept}")
        self._last_snapshot = state

    def restore(self, path):
        """Resume from a .solverstate of either format, with the weights that it names.

        Raises CaffeError, without changing anything, if one of them is damaged or belongs to another net.
        """
        state = snapshot.read(path)
        self.optimizer.check_arrays(state.histories, path)
        if state.learned_net:
            try:
                weights.copy_from(self.net, state.learned_net, complete=True)
            except CaffeError as error:
                raise CaffeError(f"{path}: cannot resume with the weights that it names: {error}")
        self.iter = state.iteration
        self.optimizer.restore(state.histories, state.step)
        self._last_snapshot = os.fspath(path)


# A class for each solver type, under pycaffe's names.
_CLASSES = {kind: type(f"{kind}Solver", (Solver,), {"kind": kind, "__module__": __name__}) for kind in RULES}
SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver = _CLASSES.values()


def get_solver_for(param):
    """The solver of the type a SolverParameter names. Raises CaffeError."""
    return _CLASSES[find_rule(param.type).__name__](param)


def get_solver(solver_file):
    """The solver of the type its prototxt names. Raises CaffeError."""
    return get_solver_for(read_solver(str(solver_file)))
