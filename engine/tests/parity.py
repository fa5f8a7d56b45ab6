"""A real Caffe beside the engine: functions that run in both, and comparisons of what they return.

The tests of the project's networks (tests/engine) use it too.
"""

import inspect
import json
import os
import pathlib
import shlex

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe  # noqa: E402
import execnet  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

BVLC_PYTHON = pathlib.Path(__file__).resolve().parents[2] / ".caffe/bin/python"
# Relative to the largest number of a blob: forward and gradients.
FORWARD, GRADIENT = 1e-4, 1e-3


def pack(values):
    """A dict of arrays and of what JSON holds, for another Python with another NumPy."""
    arrays = {name: [a.tobytes(), str(a.dtype), a.shape] for name, a in values.items() if isinstance(a, np.ndarray)}
    return arrays, json.dumps({name: value for name, value in values.items() if name not in arrays})


def unpack(arrays, others):
    """What `pack` has packed."""
    arrays = {name: np.frombuffer(data, kind).reshape(shape) for name, (data, kind, shape) in arrays.items()}
    return {**json.loads(others), **arrays}


@pytest.fixture(scope="session")
def bvlc():
    """Function (function, arguments) -> what that function returns in a real Caffe: a dict of arrays and JSON values.

    Of this Python the function may use `caffe`, `np` and its arguments. The process lives as long as the tests.
    """
    if not BVLC_PYTHON.exists():
        pytest.skip("no BVLC Caffe in .caffe: make caffe")
    python = shlex.quote(str(BVLC_PYTHON))
    gateway = execnet.makegateway(f"popen//python={python}//env:GLOG_minloglevel=2//env:OPENBLAS_NUM_THREADS=2")

    def call(function, **words):
        source = "import json\nimport caffe\nimport numpy as np\n"
        source += "\n".join(map(inspect.getsource, (pack, unpack, function)))
        source += f"\nchannel.send(pack({function.__name__}(**unpack(*channel.receive()))))\n"
        channel = gateway.remote_exec(source)
        channel.send(pack(words))
        return unpack(*channel.receive())

    yield call
    gateway.exit()


def compute(path, phase=1, backward="outputs", passes=1, random=0, weights=None, given=None, in_step=False, **inputs):
    """All that is in a net after forward passes and a backward pass.

    backward: from random diffs of the "outputs", from the "loss", or "" for none
    random: the scale of random parameters, 0 for those of the fillers; given: another engine's result with parameters
    in_step: every layer reads exactly what the other engine's layer read. Of two numbers that differ in their last bit,
        a ReLU or a maximum may pass one and not the other; its gradient is then another, and neither engine is wrong.
    """
    net = caffe.Net(path, phase)
    if weights:
        net.copy_from(weights)
    params = {f"{name}/{i}": blob for name, blobs in net.params.items() for i, blob in enumerate(blobs)}
    rng, found = np.random.RandomState(0), {}
    for key, blob in params.items():
        if given:
            blob.data[...] = given["param/" + key]
        elif random:
            blob.data[...] = rng.normal(scale=random, size=blob.data.shape)
        found["param/" + key] = blob.data.copy()
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
    for _ in range(passes - 1):
        net.forward()
    layers, tops = list(net._layer_names), dict(net.top_names)
    if given and not in_step:
        net.forward()
    for index, layer in enumerate(layers if in_step or not given else ()):
        net._forward(index, index)
        later = {name for other in layers[index + 1 :] for name in tops[other]}
        for name in tops[layer]:
            step = f"step/{index}/{name}"
            if name in later:  # which overwrites it in place
                found[step] = net.blobs[name].data.copy()
            if in_step:
                net.blobs[name].data[...] = given[step if name in later else "data/" + name]
    found.update(("data/" + name, blob.data.copy()) for name, blob in net.blobs.items())
    found.update(("after/" + key, blob.data.copy()) for key, blob in params.items())
    if backward:
        rng = np.random.RandomState(1)
        for name in net.outputs if backward == "outputs" else ():
            net.blobs[name].diff[...] = rng.normal(size=net.blobs[name].data.shape)
        net.clear_param_diffs()
        net.backward()
        found.update(("diff/" + name, blob.diff.copy()) for name, blob in net.blobs.items())
        found.update(("gradient/" + key, blob.diff.copy()) for key, blob in params.items())
    found.update(layers=layers, blobs=list(net.blobs), outputs=list(net.outputs), inputs=list(net.inputs))
    for key, names in (("bottoms", net.bottom_names), ("tops", net.top_names)):
        found[key] = {layer: list(blobs) for layer, blobs in names.items()}
    found["loss_weights"] = {name: float(weight) for name, weight in net.blob_loss_weights.items()}
    return found


def steps(path, count, losses, weights=None, state=None, start=None, snapshot=False):
    """Iterations of a solver from given weights or a state: losses, rates, weights, updates.

    start: where to save the first weights; snapshot: whether to write one at the end
    """
    solver = caffe.get_solver(path)
    if weights:
        solver.net.copy_from(weights)
    if state:
        solver.restore(state)
    if start:
        solver.net.save(start)
    found = {"losses": np.zeros((count, len(losses))), "rates": np.zeros(count)}
    for number in range(count):
        found["rates"][number] = solver.lr
        solver.step(1)
        found["losses"][number] = [float(solver.net.blobs[name].data.ravel()[0]) for name in losses]
    for name, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            found[f"param/{name}/{index}"] = blob.data.copy()
            found[f"update/{name}/{index}"] = blob.diff.copy()
    if snapshot:
        solver.snapshot()
    return {**found, "iter": solver.iter}


def relative(found, expected):
    """Largest difference, relative to the largest number expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{found.shape}, not {expected.shape}"
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, abs(found - expected)).max(initial=0)
    return difference / max(abs(expected).max(initial=0), 1e-6)


def compare(found, expected, forward=FORWARD, gradient=GRADIENT):
    """Assert that what `compute` or `steps` found in the engine agrees with what it found in a real Caffe."""
    wrong = []
    for key, value in found.items():
        limit = gradient if key.split("/")[0] in ("diff", "gradient", "update") else forward
        if not isinstance(value, np.ndarray):
            assert value == expected[key], key
        elif not (error := relative(value, expected[key])) <= limit:
            wrong.append(f"{key}: {error:.2e} > {limit:.0e}")
    assert not wrong, "; ".join(wrong)


@pytest.fixture
def alike(bvlc, tmp_path):
    """Function that asserts that both engines build and compute a net alike; more: arguments of `compute`."""

    def check(text, in_step=False, forward=FORWARD, gradient=GRADIENT, **more):
        (tmp_path / "net.prototxt").write_text(text)
        more["path"] = str(tmp_path / "net.prototxt")
        theirs = bvlc(compute, **more)
        if in_step:
            compare(compute(**{**more, "backward": ""}, given=theirs), theirs, forward)
        compare(compute(**more, given=theirs, in_step=in_step), theirs, forward, gradient)

    return check


def build(folder, text, phase=caffe.TEST, name="net.prototxt", **keywords):
    """The engine's net of a prototxt's text."""
    (folder / name).write_text(text)
    return caffe.Net(str(folder / name), phase, **keywords)


def layer(kind, bottoms, tops, body="", name="layer"):
    """A layer as prototxt; the names of its blobs are separated by blanks."""
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [f'top: "{top}"' for top in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {body} }}\n'
