"""The surface of pycaffe: what there is, live arrays, passes, callbacks, files, and errors that are exceptions."""

import pathlib

import caffe
import numpy as np
import pytest
from parity import build

FACTS = """
import importlib, inspect
for name in ("Net", "Blob", "Layer", "Solver", "SGDSolver", "BlobVec", "Timer"):
    cls = getattr(caffe, name, None) or getattr(caffe._caffe, name)
    facts[name] = sorted(n for n in dir(cls) if not n.startswith("__") and (name != "BlobVec" or n == "add_blob"))
facts["caffe"] = sorted(n for n in dir(caffe) if not n.startswith("_"))
for module in ("io", "net_spec", "coord_map", "classifier", "detector"):
    module_ = importlib.import_module("caffe." + module)
    for name, thing in vars(module_).items():
        if getattr(thing, "__module__", None) != "caffe." + module or name.startswith("_"):
            continue
        if inspect.isclass(thing):
            methods = {n: f for n, f in vars(thing).items() if inspect.isfunction(f)}
        else:
            methods = {"": thing} if inspect.isfunction(thing) else {}
        for n, f in methods.items():
            facts["%s.%s.%s" % (module, name, n)] = list(inspect.signature(f).parameters)
"""


def test_everything_pycaffe_has_is_there(bvlc):
    _, theirs = bvlc.code(FACTS)
    space = {"caffe": caffe, "facts": {}}
    # The engine has no extension module; what pycaffe keeps there is looked up where it is.
    from caffe import blob, solver

    caffe._caffe = type("extension", (), {"BlobVec": blob.BlobVec, "Solver": solver.Solver, "Blob": caffe.Blob})
    try:
        exec(FACTS, space)
    finally:
        del caffe._caffe
    ours = space["facts"]
    for name, expected in theirs.items():
        missing = set(expected) - set(ours.get(name, ())) - {"type", "_caffe"}
        assert not missing, f"{name}: {sorted(missing)}"


TEXT = """
name: "small" force_backward: true
layer { name: "in" type: "Input" top: "x" top: "z" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param {
        num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "pool" type: "Pooling" bottom: "y" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "sum" type: "Reduction" bottom: "p" top: "loss" loss_weight: 2 }
layer { name: "rest" type: "Silence" bottom: "z" }
"""


@pytest.fixture(params=("float32", "bfloat16"))
def net(request, tmp_path):
    caffe.set_precision(request.param)
    caffe.set_random_seed(1)
    yield build(tmp_path, TEXT, caffe.TRAIN)
    caffe.set_precision("float32")


def ones(net):
    net.blobs["x"].data[...] = np.random.default_rng(0).normal(size=(2, 3, 4, 4))


def test_arrays_are_c_ordered_float32(net):
    ones(net)
    net.forward()
    net.backward()
    for blob in net.blobs.values():
        for array in (blob.data, blob.diff):
            assert array.dtype == np.float32 and array.flags.c_contiguous and array.shape == tuple(blob.shape)
            assert array.flags.writeable


def test_what_is_written_into_data_is_read_by_the_next_layer(net):
    ones(net)
    net.forward(end="relu")
    net.blobs["y"].data[...] = 3
    net.blobs["y"].data.reshape(-1)[0] = 8
    assert net.forward(start="pool")["loss"] == 2 * 4 * 4 * 3 + 5
    net.blobs["p"].diff[...] = 1
    net.blobs["p"].diff[0, 0, 0, 0] = 7
    net.backward(start="pool", end="pool")
    assert net.blobs["y"].diff.sum() == 2 * 4 * 4 + 6 and net.blobs["y"].diff[0, 0, 0, 0] == 7


def test_an_array_that_is_kept_stays_live(net):
    """Layers' results appear in arrays taken before, and what is written into those, layers read."""
    kept = {name: blob.data for name, blob in net.blobs.items()}
    part = net.blobs["y"].data[1, 2]
    diff = net.blobs["y"].diff
    ones(net)
    for _ in range(2):
        net.forward()
        net.backward()
        kept["x"][...] += 1
        for name, array in kept.items():
            np.testing.assert_array_equal(array, net.blobs[name].data)
        np.testing.assert_array_equal(part, net.blobs["y"].data[1, 2])
        np.testing.assert_array_equal(diff, net.blobs["y"].diff)
        assert diff.any() and part.shape == (4, 4)
    kept["y"][...] = -1
    net.forward(start="relu", end="relu")
    assert not kept["y"].any()


def test_parameters_are_live(net):
    weight, bias = (blob.data for blob in net.params["conv"])
    ones(net)
    weight[...] = 0
    bias[...] = [1, 2, 3, -4]
    out = net.forward(blobs=["y"])["y"]
    assert [out[:, channel].max() for channel in range(4)] == [1, 2, 3, 0]


def test_gradients_of_parameters_add_up_until_they_are_cleared(net):
    ones(net)
    net.forward()
    net.backward()
    once = net.params["conv"][0].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.params["conv"][0].diff, 2 * once, rtol=1e-2, atol=1e-3)
    net.clear_param_diffs()
    assert not net.params["conv"][0].diff.any() and once.any()


def test_reshaping_an_input_reshapes_the_net(net):
    net.blobs["x"].reshape(5, 3, 6, 6)
    net.reshape()
    assert net.blobs["p"].data.shape == (5, 4, 3, 3)
    net.blobs["x"].reshape(1, 3, 4, 4)
    net.blobs["x"].data[...] = 1
    net.forward()
    assert net.blobs["p"].data.shape == (1, 4, 2, 2)
    blob = net.blobs["x"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (1, 3, 4, 4, 48)
    with pytest.raises(caffe.CaffeError):
        net.blobs["x"].reshape(-1, 2)


def test_forward_with_arrays_and_backward_with_diffs(net):
    x = np.ones((2, 3, 4, 4), np.float32)
    out = net.forward(x=x, z=x, blobs=["p"])
    assert set(out) == {"loss", "p"} and (net.blobs["x"].data == 1).all()
    assert set(net.backward(diffs=["y"])) == {"x", "z", "y"}
    with pytest.raises(Exception, match="do not match net blobs"):
        net.forward(x=x)
    with pytest.raises(Exception, match="no layer 'nowhere'"):
        net.forward(end="nowhere")


def test_forward_all_fills_the_last_batch(net):
    x = np.random.default_rng(1).normal(size=(5, 3, 4, 4)).astype(np.float32)
    out = net.forward_all(blobs=["p"], x=x, z=x)
    assert out["p"].shape == (5, 4, 2, 2)
    ones(net)
    net.blobs["x"].data[...] = x[2:4]
    np.testing.assert_allclose(net.forward(blobs=["p"])["p"], out["p"][2:4], rtol=1e-6)
    out, diffs = net.forward_backward_all(blobs=["p"], diffs=["y"], x=x, z=x)
    assert out["p"].shape == (5, 4, 2, 2) and diffs["y"].shape == (5, 4, 4, 4)


def test_callbacks_are_called_with_the_layers_numbers(net):
    calls = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda number, name=name: calls.append((name, number)))
    net.forward(start="relu", end="pool")
    net.backward(start="pool", end="relu")
    assert calls == [
        *[(f"{when}_forward", number) for number in (2, 3) for when in ("before", "after")],
        *[(f"{when}_backward", number) for number in (3, 2) for when in ("before", "after")],
    ]


def test_layers_and_names(net):
    assert [layer.type for layer in net.layers][:3] == ["Input", "Convolution", "ReLU"]
    assert net.layer_dict["conv"].blobs[0].data.shape == (4, 3, 3, 3) and len(net.layer_dict["conv"].blobs) == 2
    assert net.top_names["in"] == ["x", "z"] and net.bottom_names["relu"] == ["y"]
    assert list(net.params) == ["conv"] and net.blob_loss_weights["loss"] == 2
    assert "Convolution" in caffe.layer_type_list()


def test_weights_are_saved_and_read_in_both_formats(net, tmp_path):
    saved = [blob.data.copy() for blob in net.params["conv"]]
    net.save(tmp_path / "w.caffemodel")
    net.save_hdf5(str(tmp_path / "w.h5"))
    for name, method in (("w.caffemodel", "copy_from"), ("w.h5", "load_hdf5"), ("w.h5", "copy_from")):
        for blob in net.params["conv"]:
            blob.data[...] = 0
        getattr(net, method)(str(tmp_path / name))
        for blob, expected in zip(net.params["conv"], saved, strict=True):
            np.testing.assert_array_equal(blob.data, expected)
    with pytest.warns(UserWarning, match="old form"):
        other = caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel"), caffe.TEST)
    np.testing.assert_array_equal(other.params["conv"][0].data, saved[0])
    other.share_with(net)
    net.params["conv"][0].data[0, 0, 0, 0] = 99
    assert other.params["conv"][0].data[0, 0, 0, 0] == 99


def test_timer_and_modes():
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    assert timer.ms >= 0
    caffe.set_mode_cpu()
    assert caffe.solver_count() == 1 and caffe.solver_rank() == 0 and not caffe.has_nccl()
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(caffe.CaffeError, match="GPU"):
            caffe.set_mode_gpu()
        with pytest.raises(caffe.CaffeError, match="GPU"):
            caffe.set_device(0)


IN = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


@pytest.mark.parametrize(
    "text, words",
    [
        ('layer { name: "a"\n  tipe: "ReLU" }', ["net.prototxt:2", "LayerParameter", "tipe"]),
        ('name: "a"\nlayer { name: "a" convolution_param { kernel: 3 } }', [":2:", "ConvolutionParameter", "kernel"]),
        ("layer { name: 3 }", [":1:"]),
        ('layer { name: "a" convolution_param { num_output: -1 } }', [":1:"]),
        (IN + 'layer { name: "a" type: "Rilu" bottom: "x" top: "y" }', ["'a'", "Rilu", "ReLU", "Convolution"]),
        ('layer { name: "a" type: "ReLU" bottom: "y" top: "y" }', ["layer 'a'", "no layer before it has the top 'y'"]),
        (IN + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" top: "z" }', ["'a'", "ReLU takes 1 top"]),
        (IN + 'layer { name: "a" type: "Eltwise" bottom: "x" top: "y" }', ["'a'", "2 or more bottom"]),
        (IN + IN.replace('"in"', '"b"'), ["'b'", "top 'x' already"]),
        (
            IN + 'layer { name: "a" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 '
            'weight_filler { type: "gausian" } } }',
            ["gausian", "gaussian"],
        ),
        (
            IN + 'layer { name: "a" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 4 dim: -1 } } }',
            ["'a'"],
        ),
        (IN + 'layer { name: "a" type: "Convolution" bottom: "x" top: "y" }', ["'a'", "num_output"]),
        (IN + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" loss_weight: nan }', ["'a'", "loss_weight is nan"]),
        (
            IN + 'layer { name: "a" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 '
            "weight_filler { std: inf } } }",
            ["weight_filler: std is inf"],
        ),
        (
            IN + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" loss_weight: 1 loss_weight: 2 }',
            ["loss_weight", "'a'"],
        ),
        (IN + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" param { lr_mult: 1 } }', ["'a'", "param"]),
        (
            IN
            + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" include { phase: TEST } exclude { phase: TRAIN } }',
            ["include"],
        ),
        (
            'layer { name: "a" type: "Data" top: "x" data_param { source: "nowhere" backend: LMDB batch_size: 1 } }',
            ["nowhere"],
        ),
        (
            'layer { name: "a" type: "Data" top: "x" data_param { source: "nowhere" batch_size: 1 } }',
            ["LEVELDB", "LMDB"],
        ),
        (
            IN
            + 'layer { name: "a" type: "Python" bottom: "x" top: "y" python_param { module: "no_such" layer: "L" } }',
            ["'a'", "no_such", "PYTHONPATH"],
        ),
        (
            IN + 'layer { name: "a" type: "Python" bottom: "x" top: "y" python_param { module: "json" layer: "L" } }',
            ["'a'", "json", "'L'"],
        ),
        (
            IN + 'layer { name: "a" type: "Pooling" bottom: "x" top: "y" pooling_param { kernel_size: 2 } }',
            ["'a'", "4 axes"],
        ),
    ],
)
def test_errors_are_exceptions_that_say_where(text, words, tmp_path):
    with pytest.raises(caffe.CaffeError) as error:
        build(tmp_path, text)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ("missing", "garbage", "other shape", "cut off"))
def test_wrong_weights_are_exceptions_that_name_the_file(kind, tmp_path):
    net = build(tmp_path, TEXT)
    path = tmp_path / "w.caffemodel"
    words = {"missing": "No such file", "garbage": "not a .caffemodel", "cut off": "not a .caffemodel"}
    if kind == "garbage":
        path.write_bytes(b"\xff" * 100)
    elif kind != "missing":
        build(tmp_path, TEXT.replace("num_output: 4", "num_output: 5"), name="o.prototxt").save(path)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(caffe.CaffeError) as error:
        net.copy_from(str(path))
    assert words.get(kind, "has shape") in str(error.value) and str(path) in str(error.value)


def test_a_missing_prototxt_is_named():
    with pytest.raises(caffe.CaffeError, match="no/such.prototxt: No such file"):
        caffe.Net("no/such.prototxt", caffe.TEST)


@pytest.mark.parametrize("attribute, kind", (("supports_tensors", "Tensor"), ("other", "ndarray")))
def test_a_python_layer_that_supports_tensors_gets_tensors(attribute, kind, tmp_path, monkeypatch):
    (tmp_path / f"layer_{attribute}.py").write_text(
        f"import caffe\nclass Mine(caffe.Layer):\n    {attribute} = True\n    def reshape(self, bottom, top):\n"
        "        top[0].reshape(*bottom[0].shape)\n    def forward(self, bottom, top):\n"
        "        self.kind = type(bottom[0].data).__name__\n        top[0].data[...] = 2 * bottom[0].data\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    python = f'python_param {{ module: "layer_{attribute}" layer: "Mine" }}'
    net = build(tmp_path, IN + f'layer {{ name: "a" type: "Python" bottom: "x" top: "y" {python} }}')
    net.blobs["x"].data[...] = 3
    assert (net.forward()["y"] == 6).all() and net.layers[1].kind == kind


def test_importing_the_messages_alone_stays_light():
    import subprocess
    import sys

    code = "import sys; from caffe.proto import caffe_pb2; print('torch' in sys.modules)"
    folder = pathlib.Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.stdout.strip() == "False", done.stderr
