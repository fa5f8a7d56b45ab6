"""Solvers: train a net as a SolverParameter says, test, snapshot and resume, with Caffe's log lines."""

import pathlib
import tempfile
import time

import torch

from . import context, glog, prototxt, snapshot, weights
from .context import TEST, TRAIN
from .errors import CaffeError, check
from .proto import caffe_pb2
from .pycaffe import Net
from .updates import find_rule, learning_rate
from .upgrade import upgrade_solver

number = glog.number


def read_solver(path):
    """A SolverParameter from a prototxt. Raises CaffeError."""
    return upgrade_solver(prototxt.read_text(path, caffe_pb2.SolverParameter()))


class SolverParam:
    """What pycaffe shows of a solver's parameters; max_iter, display and base_lr can be set."""

    def __init__(self, message):
        self.__dict__["_message"] = message

    def __getattr__(self, name):
        return getattr(self._message, name)

    def __setattr__(self, name, value):
        setattr(self._message, name, value)


class Solver:
    """Trains `net`, a caffe.Net; `test_nets` share its weights.

    solver_file: a prototxt, or a SolverParameter. Raises CaffeError.
    action: a function that is asked after every iteration for "stop", "snapshot" or None
    """

    kind = None
    iter = 0
    net = None
    test_nets = ()

    def __init__(self, solver_file):
        param = solver_file
        if not isinstance(param, caffe_pb2.SolverParameter):
            param = read_solver(str(solver_file))
        self._param = param
        self.rule = find_rule(self.kind or param.type)(param)
        check(param.average_loss >= 1, f"average_loss must be at least 1, not {param.average_loss}")
        check(
            param.regularization_type in ("L1", "L2"),
            f"regularization_type must be L1 or L2, not {param.regularization_type}",
        )
        if param.random_seed >= 0:
            context.set_random_seed(param.random_seed + context.solver_rank())
        if context.solver_rank() == 0 and param.snapshot_after_train:
            self._check_prefix()
        glog.info("Initializing solver from parameters:\n" + prototxt.to_text(param))
        self.iter = self._step = 0
        self.net = self._train_net()
        self.test_nets = list(self._make_test_nets()) if context.solver_rank() == 0 else []
        self._histories = None
        self._callbacks = []
        self._losses, self._smoothed = [], 0.0
        self._stopped = False
        self.action = lambda: None
        # The same, asked within tests, which with several ranks only rank 0 runs.
        self.test_action = lambda: self.action()
        # Told (iteration, loss) after every update.
        self.progress = lambda iteration, loss: None
        for path in param.weights:
            for part in path.split(","):
                load_weights(self, part)
        glog.info("Solver scaffolding done.")

    # Building ---------------------------------------------------------------------------------------------

    def _check_prefix(self):
        param = self._param
        if not param.snapshot_prefix:
            check(not param.snapshot, "the solver says snapshot, but not where: add snapshot_prefix")
            return
        folder = pathlib.Path(param.snapshot_prefix).parent
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            raise CaffeError(
                f"snapshot_prefix {param.snapshot_prefix!r}: no folder {str(folder)!r} to write in; make it first: "
                f"mkdir -p {folder}"
            )

    def _build(self, source, phase, state=None):
        """A net from a file or a NetParameter, in a phase, with the level and stages of a NetState."""
        if isinstance(source, str):
            source = prototxt.read_text(source, caffe_pb2.NetParameter())
        net = caffe_pb2.NetParameter()
        net.CopyFrom(source)
        merged = caffe_pb2.NetState(phase=phase)
        merged.MergeFrom(net.state)
        if state is not None:
            merged.MergeFrom(state)
        merged.phase = phase if state is None or not state.HasField("phase") else state.phase
        net.state.CopyFrom(merged)
        return Net.from_param(net)

    def _train_net(self):
        param = self._param
        given = [field for field in ("net", "net_param", "train_net", "train_net_param") if param.HasField(field)]
        check(
            len(given) == 1,
            "a solver has one train net: net, train_net, net_param or train_net_param; this one has "
            f"{', '.join(given) or 'none'}",
        )
        where = getattr(param, given[0])
        glog.info(f"Creating training net from {given[0]}{f' file: {where}' if isinstance(where, str) else ''}")
        return self._build(where, TRAIN, param.train_state)

    def _make_test_nets(self):
        param = self._param
        own = [*param.test_net_param, *param.test_net]
        count = len(param.test_iter)
        generic = param.net_param if param.HasField("net_param") else param.net
        has_generic = param.HasField("net_param") or param.HasField("net")
        check(
            count >= len(own) if has_generic else count == len(own),
            f"test_iter must be specified for each test network ({len(own)}), not {count} times",
        )
        check(
            len(param.test_state) in (0, count),
            f"test_state must be given never or once per test net, not {count} times",
        )
        check(not count or param.test_interval > 0, "test nets need test_interval")
        for index, source in enumerate(own + [generic] * (count - len(own))):
            glog.info(f"Creating test net (#{index})")
            yield self._build(source, TEST, param.test_state[index] if param.test_state else None)

    # What pycaffe shows -----------------------------------------------------------------------------------

    @property
    def param(self):
        return SolverParam(self._param)

    @property
    def lr(self):
        """The learning rate of the next update."""
        return learning_rate(self._param, self.iter, self._step)[0]

    def add_callback(self, on_start, on_gradients_ready):
        """Call functions before the pass and before the update of every iteration."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net):
        """Let a net share the trained weights."""
        net.share_with(self.net)

    # Training ---------------------------------------------------------------------------------------------

    def solve(self, resume_file=None):
        """Train up to max_iter, from a .solverstate where one is given."""
        param = self._param
        glog.info(f"Solving {self.net.name}")
        glog.info(f"Learning Rate Policy: {param.lr_policy}")
        self._stopped = False
        if resume_file:
            glog.info(f"Restoring previous solver status from {resume_file}")
            self.restore(resume_file)
        start = self.iter
        self.step(param.max_iter - self.iter)
        if param.snapshot_after_train and (not param.snapshot or self.iter % param.snapshot):
            self.snapshot()
        if self._stopped:
            glog.info("Optimization stopped early.")
            return
        if param.display and self.iter % param.display == 0:
            self._smooth(self.net.forward_range(0, len(self.net.nodes) - 1), start)
            glog.info(f"Iteration {self.iter}, loss = {number(self._smoothed)}")
        if param.test_interval and self.iter % param.test_interval == 0:
            self._test_all()
        glog.info("Optimization Done.")

    def step(self, iterations):
        """Train some iterations further."""
        param, net = self._param, self.net
        start, last = self.iter, len(net.nodes) - 1
        stop = start + iterations
        self._losses, self._smoothed = [], 0.0
        since, shown = time.perf_counter(), start
        while self.iter < stop:
            net.clear_param_diffs()
            if (
                param.test_interval
                and self.iter % param.test_interval == 0
                and (self.iter > 0 or param.test_initialization)
            ):
                self._test_all()
                if self._stopped:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = param.display and self.iter % param.display == 0
            net.debug_info = bool(display and param.debug_info)
            loss = 0.0
            for _ in range(param.iter_size):
                loss += net.forward_range(0, last)
                net.backward_range(last, 0)
            self._smooth(loss / param.iter_size, start)
            if display:
                lapse = time.perf_counter() - since
                rate = (self.iter - shown) / (lapse or 1)
                glog.info(
                    f"Iteration {self.iter} ({number(rate)} iter/s, {number(lapse)}s/{param.display} iters), "
                    f"loss = {number(self._smoothed)}"
                )
                since, shown = time.perf_counter(), self.iter
                self._show_outputs()
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            self.progress(self.iter, self._smoothed)
            request = self.action()
            if (param.snapshot and self.iter % param.snapshot == 0) or request == "snapshot":
                self.snapshot()
            if request == "stop":
                self._stopped = True
                break

    def _smooth(self, loss, start):
        """Enter a loss into the mean of the last average_loss ones."""
        window = self._param.average_loss
        if len(self._losses) < window:
            self._losses.append(loss)
            self._smoothed += (loss - self._smoothed) / len(self._losses)
        else:
            at = (self.iter - start) % window
            self._smoothed += (loss - self._losses[at]) / window
            self._losses[at] = loss

    def _show_outputs(self):
        weight_of, index = self.net.blob_loss_weights, 0
        for name in self.net.outputs:
            for value in self.net.blob_map[name].value().reshape(-1).tolist():
                glog.info(f"    Train net output #{index}: {score(name, value, weight_of[name])}")
                index += 1

    # Testing ----------------------------------------------------------------------------------------------

    def _test_all(self):
        for index, net in enumerate(self.test_nets):
            if self._stopped:
                break
            self._test(index, net)

    def _test(self, index, net):
        param = self._param
        glog.info(f"Iteration {self.iter}, Testing net (#{index})")
        net.share_with(self.net)
        sums, loss = None, 0.0
        for _ in range(param.test_iter[index]):
            while (request := self.test_action()) is not None:
                if request == "snapshot":
                    self.snapshot()
                else:
                    self._stopped = True
            if self._stopped:
                glog.info("Test interrupted.")
                return
            loss += net.forward_range(0, len(net.nodes) - 1)
            scores = [value for name in net.outputs for value in net.blob_map[name].value().reshape(-1).tolist()]
            sums = scores if sums is None else [a + b for a, b in zip(sums, scores)]
        count = param.test_iter[index]
        if param.test_compute_loss:
            glog.info(f"Test loss: {number(loss / count)}")
        names = [name for name in net.outputs for _ in range(net.blob_map[name].count)]
        weight_of = net.blob_loss_weights
        for place, (name, total) in enumerate(zip(names, sums or [])):
            glog.info(f"    Test net output #{place}: {score(name, total / count, weight_of[name])}")

    # Updating ---------------------------------------------------------------------------------------------

    def _history(self):
        """Lists of tensors, one per kind of history, None where a parameter was never learned."""
        if self._histories is None:
            self._histories = [[None] * len(self.net.learnable) for _ in range(self.rule.histories)]
        return self._histories

    def apply_update(self):
        """Change the weights by what their gradients ask for, and count the iteration."""
        param, net = self._param, self.net
        rate, self._step = learning_rate(param, self.iter, self._step)
        if param.display and self.iter % param.display == 0:
            glog.info(f"Iteration {self.iter}, lr = {number(rate)}")
        with torch.no_grad():
            self._clip()
            groups = {}
            for index, blob in enumerate(net.learnable):
                histories = self._history()
                if net.rates[index] == 0 and histories[0][index] is None:
                    continue
                for history in histories:
                    if history[index] is None:
                        history[index] = torch.zeros(blob.shape, device=context.device())
                    elif history[index].device != context.device():
                        history[index] = history[index].to(context.device())
                key = (net.rates[index], net.decays[index])
                groups.setdefault(key, []).append(index)
            for (lr_mult, decay_mult), indices in groups.items():
                self._update(indices, rate * lr_mult, param.weight_decay * decay_mult)
        self.iter += 1

    def _update(self, indices, rate, decay):
        blobs = [self.net.learnable[index] for index in indices]
        data = [blob.data_memory.plain(blob.shape) for blob in blobs]
        gradients = [blob.diff_memory.plain(blob.shape) for blob in blobs]
        if self._param.iter_size > 1:
            torch._foreach_div_(gradients, self._param.iter_size)
        if decay and self._param.regularization_type == "L2":
            torch._foreach_add_(gradients, data, alpha=decay)
        elif decay:
            torch._foreach_add_(gradients, torch._foreach_sign(data), alpha=decay)
        histories = [[history[index] for index in indices] for history in self._history()]
        self.rule.update(gradients, histories, rate, self.iter)
        torch._foreach_sub_(data, gradients)
        for blob in blobs:
            blob.data_memory.changed()
            blob.diff_memory.changed()

    def _clip(self):
        limit = self._param.clip_gradients
        if limit < 0:
            return
        gradients = [blob.diff_memory.plain(blob.shape) for blob in self.net.learnable]
        norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
        if norm > limit:
            scale = limit / norm
            glog.info(
                f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > {number(limit)}) "
                f"by scale factor {number(scale)}"
            )
            torch._foreach_mul_(gradients, scale)

    # Snapshots --------------------------------------------------------------------------------------------

    def _name(self, extension):
        return f"{self._param.snapshot_prefix}_iter_{self.iter}{extension}"

    def snapshot(self):
        """Write weights and state to snapshot_prefix_iter_N.caffemodel and .solverstate (with .h5, for HDF5)."""
        if context.solver_rank() != 0:
            return
        param = self._param
        check(param.snapshot_prefix, "a snapshot needs snapshot_prefix in the solver")
        hdf5 = param.snapshot_format == caffe_pb2.SolverParameter.HDF5
        ending, kind = (".h5", "HDF5 file") if hdf5 else ("", "binary proto file")
        model, state = self._name(f".caffemodel{ending}"), self._name(f".solverstate{ending}")
        glog.info(f"Snapshotting to {kind} {model}")
        (weights.save_hdf5 if hdf5 else weights.save)(self.net, model, param.snapshot_diff)
        glog.info(f"Snapshotting solver state to {kind} {state}")
        histories = (
            (torch.zeros(blob.shape) if history is None else history).cpu().numpy()
            for kind_of_history in self._history()
            for history, blob in zip(kind_of_history, self.net.learnable)
        )
        content = snapshot.State(self.iter, self._step, model, list(histories))
        (snapshot.write_hdf5 if hdf5 else snapshot.write)(state, content)

    def restore(self, path):
        """Go on from a .solverstate of either format; its weights are read from the file it names."""
        state = snapshot.read(path)
        blobs, kinds = self.net.learnable, self.rule.histories
        check(
            len(state.histories) == kinds * len(blobs),
            f"{path}: holds {len(state.histories)} histories; this solver and net have {kinds * len(blobs)}",
        )
        for index, (history, blob) in enumerate(zip(state.histories, blobs * kinds)):
            check(
                weights.same_shape(history.shape, blob.shape),
                f"{path}: history {index} has shape {history.shape}, its parameter {blob.shape}",
            )
        if state.learned_net:
            self.net.copy_from(state.learned_net)
        self.iter, self._step = state.iteration, state.step
        tensors = [
            torch.from_numpy(history.astype("float32").reshape(blob.shape)).to(context.device())
            if history.any()
            else None
            for history, blob in zip(state.histories, blobs * kinds)
        ]
        self._histories = [tensors[kind * len(blobs) : (kind + 1) * len(blobs)] for kind in range(kinds)]


def score(name, value, weight):
    """An output as the log shows it."""
    text = f"{name} = {number(value)}"
    return text + f" (* {number(weight)} = {number(weight * value)} loss)" if weight else text


def load_weights(solver, path):
    """Copy a file's weights into a solver's nets."""
    path = path.strip()
    glog.info(f"Finetuning from {path}")
    for net in (solver.net, *solver.test_nets):
        net.copy_from(path)


class SGDSolver(Solver):
    kind = "SGD"


class NesterovSolver(Solver):
    kind = "Nesterov"


class AdaGradSolver(Solver):
    kind = "AdaGrad"


class RMSPropSolver(Solver):
    kind = "RMSProp"


class AdaDeltaSolver(Solver):
    kind = "AdaDelta"


class AdamSolver(Solver):
    kind = "Adam"


def get_solver_for(param):
    """The solver of the type a SolverParameter names. Raises CaffeError."""
    find_rule(param.type)
    return {cls.kind: cls for cls in Solver.__subclasses__()}[param.type](param)


def get_solver(solver_file):
    """The solver of the type its prototxt names. Raises CaffeError."""
    return get_solver_for(read_solver(str(solver_file)))
