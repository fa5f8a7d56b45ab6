"""Shared by the engine's tests: the real Caffe beside it, and comparisons.

The tests of the project's networks (tests/engine) use it too.
"""

import itertools
import json
import os
import pathlib
import shutil
import subprocess

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BVLC_PYTHON = REPOSITORY / ".caffe/bin/python"
# Relative to the largest number of a blob: forward and gradients.
FORWARD, GRADIENT = 1e-4, 1e-3


class Bvlc:
    """A real Caffe that computes cases, in a process that lives as long as the tests."""

    def __init__(self, folder):
        self.folder, self.numbers = folder, itertools.count()
        environment = dict(os.environ, GLOG_minloglevel="2", OPENBLAS_NUM_THREADS="2")
        self.process = subprocess.Popen(
            [str(BVLC_PYTHON), str(pathlib.Path(__file__).with_name("oracle.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )

    def run(self, kind, files, **case):
        """Run a case; the folder with what it left. files: name -> text. Raises RuntimeError with Caffe's words."""
        folder = self.folder / f"{next(self.numbers)}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        if "inputs" in case:
            np.savez(folder / "inputs.npz", **case.pop("inputs"))
        (folder / "case.json").write_text(json.dumps({"kind": kind, **case}))
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != "ok":
            raise RuntimeError((folder / "stderr").read_text(errors="replace"))
        return folder

    def net(self, text, inputs=None, phase=caffe.TEST, backward="outputs", **case):
        """Run a net forward and backward: (dict of arrays, dict of names)."""
        case = {"phase": phase, "backward": backward, "seed": 0, **case}
        folder = self.run("net", {"net.prototxt": text}, inputs=inputs or {}, **case)
        with np.load(folder / "result.npz") as file:
            result = dict(file), json.loads((folder / "names.json").read_text())
        shutil.rmtree(folder)  # of the networks' twenty attributes it is a gigabyte
        return result

    def solver(self, text, steps, losses, **case):
        """Some steps of a solver: dict of arrays."""
        folder = self.run("solver", {"solver.prototxt": text}, steps=steps, losses=losses, **case)
        with np.load(folder / "result.npz") as file:
            return dict(file)

    def code(self, code, **case):
        """Any Python: (arrays it left in `result`, what it left in `facts`)."""
        folder = self.run("code", {}, code=code, **case)
        with np.load(folder / "result.npz", allow_pickle=True) as file:
            return dict(file), json.loads((folder / "facts.json").read_text())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def bvlc(tmp_path_factory):
    """A real Caffe; tests that need one are skipped where the repository has none."""
    if not BVLC_PYTHON.exists():
        pytest.skip("no BVLC Caffe in .caffe: make caffe")
    server = Bvlc(tmp_path_factory.mktemp("bvlc"))
    yield server
    server.close()


def relative(found, expected):
    """Largest difference, relative to the largest number expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{found.shape}, not {expected.shape}"
    if not expected.size:
        return 0.0
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, abs(found - expected)).max()
    return difference / max(abs(expected).max(), 1e-6)


def build(folder, text, phase=caffe.TEST, name="net.prototxt", **keywords):
    """The engine's net of a prototxt's text."""
    path = pathlib.Path(folder) / name
    path.write_text(text)
    return caffe.Net(str(path), phase, **keywords)


def forward_in_step(net, result):
    """Run forward, each layer on exactly what the real Caffe's layer got.

    Of two numbers that differ in their last bit, a ReLU or a maximum may pass one and not the other; its gradient
    is then another, and neither engine is wrong. In step both see the same numbers. What a layer wrote and a later one
    overwrote in place is among the results under the layer's number.
    """
    for index, node in enumerate(net.nodes):
        net._forward(index, index)
        for name in node.tops:
            overwritten = f"step/{index}/{name}"
            net.blobs[name].data[...] = result[overwritten if overwritten in result else f"data/{name}"]


def replay(net, result, inputs=None, passes=1, backward=True, in_step=False):
    """Run the engine's net on what the real Caffe was given."""
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            blob.data[...] = result[f"param/{name}/{index}"]
    for name, array in (inputs or {}).items():
        net.blobs[name].data[...] = array
    if in_step:
        forward_in_step(net, result)
    for _ in range(0 if in_step else passes):
        net.forward()
    found = {f"data/{name}": blob.data.copy() for name, blob in net.blobs.items()}
    for name, blobs in net.params.items():
        found.update((f"after/{name}/{index}", blob.data.copy()) for index, blob in enumerate(blobs))
    if not backward:
        return found
    for key, diff in result.items():
        if key.startswith("top/"):
            net.blobs[key[4:]].diff[...] = diff
    net.clear_param_diffs()
    net.backward()
    found.update((f"diff/{name}", blob.diff.copy()) for name, blob in net.blobs.items())
    for name, blobs in net.params.items():
        found.update((f"gradient/{name}/{index}", blob.diff.copy()) for index, blob in enumerate(blobs))
    return found


def compare(found, expected, forward=FORWARD, gradient=GRADIENT, skip=()):
    """Assert that every array of a replay agrees with the real Caffe's."""
    wrong = []
    for key, array in expected.items():
        kind = key.split("/")[0]
        if kind in ("param", "top", "step") or key in skip or key not in found:
            continue
        limit = gradient if kind in ("diff", "gradient") else forward
        error = relative(found[key], array)
        if not error <= limit:
            wrong.append(f"{key}: {error:.2e} > {limit:.0e}")
    assert not wrong, "; ".join(wrong)
