"""The surface of pycaffe: what there is, live arrays, passes, callbacks, files, and errors that are exceptions."""

import gc
import sys

import caffe
import numpy as np
import pytest
import torch
from caffe import draw, solver
from caffe import layers as L
from caffe.blob import BlobVec
from caffe.coord_map import crop
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


def test_everything_pycaffe_has_is_there(bvlc, monkeypatch):
    _, theirs = bvlc.code(FACTS)
    # The engine has no extension module; what pycaffe keeps there is looked up where it is.
    extension = {"BlobVec": BlobVec, "Solver": solver.Solver, "Blob": caffe.Blob}
    monkeypatch.setattr(caffe, "_caffe", type("extension", (), extension), raising=False)
    space = {"caffe": caffe, "facts": {}}
    exec(FACTS, space)
    for name, expected in theirs.items():
        missing = set(expected) - set(space["facts"].get(name, ())) - {"type", "_caffe"}
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
    net = build(tmp_path, TEXT, caffe.TRAIN)
    net.blobs["x"].data[...] = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    return net


def test_arrays_are_c_ordered_float32(net):
    net.forward()
    net.backward()
    for blob in (*net.blobs.values(), *net.params["conv"]):
        for array in (blob.data, blob.diff):
            assert array.dtype == np.float32 and array.flags.c_contiguous and array.shape == tuple(blob.shape)
            assert array.flags.writeable


def test_what_is_written_into_data_is_read_by_the_next_layer(net):
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
    part, diff = net.blobs["y"].data[1, 2], net.blobs["y"].diff
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


class Array(np.ndarray):
    pass


WAYS_TO_KEEP = {
    "the array": lambda array: array,
    "a part": lambda array: array[1:, ::2],
    "a view of a part": lambda array: array[0].reshape(-1)[2:5],
    "a transposed view": lambda array: array.T,
    "a subclass": lambda array: array.view(Array)[0],
    "a buffer": memoryview,
    "a tensor": lambda array: torch.from_numpy(array)[0],
    "in a container": lambda array: {"list": [array]},
    "in a closure": lambda array: lambda: array,
}


@pytest.mark.parametrize("way", WAYS_TO_KEEP)
def test_every_way_to_keep_an_array_counts_until_it_is_given_up(way, monkeypatch):
    """Whether a caller holds an array is not decided by counting references, which not every Python does alike."""
    monkeypatch.delattr(sys, "getrefcount", raising=False)
    memory = caffe.Blob(2, 3).data_memory
    assert not memory.is_viewed()
    kept = WAYS_TO_KEEP[way](memory.array((2, 3)))
    gc.collect()
    assert memory.is_viewed()
    memory.set(torch.arange(6.0).reshape(3, 2).t())  # shows in the array, in C order
    assert memory.array((2, 3)).tolist() == [[0, 2, 4], [1, 3, 5]] and memory.is_viewed()
    del kept
    gc.collect()
    assert not memory.is_viewed()


def test_parameters_are_live_and_gradients_add_up_until_they_are_cleared(net):
    weight, bias = (blob.data for blob in net.params["conv"])
    net.forward()
    net.backward()
    once = net.params["conv"][0].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.params["conv"][0].diff, 2 * once, rtol=1e-2, atol=1e-3)
    net.clear_param_diffs()
    assert not net.params["conv"][0].diff.any() and once.any()
    weight[...] = 0
    bias[...] = [1, 2, 3, -4]
    out = net.forward(blobs=["y"])["y"]
    assert [out[:, channel].max() for channel in range(4)] == [1, 2, 3, 0]


def test_what_was_derived_from_data_and_weights_is_computed_anew_when_they_change(net):
    """Between forward and backward, and between passes, in bfloat16 as well."""
    x = net.blobs["x"].data.copy()
    net.forward()
    net.blobs["x"].data[...] = 0
    net.backward()
    assert not net.params["conv"][0].diff.any()
    net.blobs["x"].data[...] = x
    net.forward()
    net.params["conv"][0].data[...] = 0
    net.backward()
    assert not net.blobs["x"].diff.any()
    net.params["conv"][1].data[...] = 2
    assert (net.forward(blobs=["y"])["y"] == 2).all()


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


def test_passes_over_arrays(net):
    x = np.random.default_rng(1).normal(size=(5, 3, 4, 4)).astype(np.float32)
    out = net.forward(x=x[:2], z=x[:2], blobs=["p"])
    assert set(out) == {"loss", "p"} and (net.blobs["x"].data == x[:2]).all()
    assert set(net.backward(diffs=["y"])) == {"x", "z", "y"}
    with pytest.raises(caffe.CaffeError, match="do not match net blobs"):
        net.forward(x=x[:2])
    with pytest.raises(caffe.CaffeError, match="no layer 'nowhere'"):
        net.forward(end="nowhere")
    # The last batch is filled up.
    out, diffs = net.forward_backward_all(blobs=["p"], diffs=["y"], x=x, z=x)
    assert out["p"].shape == (5, 4, 2, 2) and diffs["y"].shape == (5, 4, 4, 4)
    np.testing.assert_array_equal(net.forward_all(blobs=["p"], x=x, z=x)["p"], out["p"])
    net.blobs["x"].data[...] = x[2:4]
    np.testing.assert_allclose(net.forward(blobs=["p"])["p"], out["p"][2:4], rtol=1e-6)


def test_callbacks_layers_and_names(net):
    calls = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda number, name=name: calls.append((name, number)))
    net.forward(start="relu", end="pool")
    net.backward(start="pool", end="relu")
    assert calls == [
        *[(f"{when}_forward", number) for number in (2, 3) for when in ("before", "after")],
        *[(f"{when}_backward", number) for number in (3, 2) for when in ("before", "after")],
    ]
    assert [layer.type for layer in net.layers][:3] == ["Input", "Convolution", "ReLU"]
    assert net.layer_dict["conv"].blobs[0].data.shape == (4, 3, 3, 3) and len(net.layer_dict["conv"].blobs) == 2
    assert net.top_names["in"] == ["x", "z"] and net.bottom_names["relu"] == ["y"]
    assert list(net.params) == ["conv"] and net.blob_loss_weights["loss"] == 2
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    assert timer.ms >= 0 and not caffe.has_nccl() and caffe.solver_count() == 1 and caffe.solver_rank() == 0
    assert caffe.solver_mean(timer) is timer


def test_weights_are_saved_and_read_in_both_formats(net, tmp_path):
    net.forward()
    saved = [blob.data.copy() for blob in net.params["conv"]]
    net.forward()  # which stores the weights in another order
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


IN = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


IMAGE = IN.replace("dim: 3", "dim: 3 dim: 9 dim: 9")


def layer(kind, rest="", bottom="x", top="y"):
    return f'layer {{ name: "a" type: "{kind}" bottom: "{bottom}" top: "{top}" {rest} }}'


def data(rest):
    return f'layer {{ name: "a" type: "Data" top: "x" data_param {{ source: "nowhere" batch_size: 1 {rest} }} }}'


def python(module):
    return IN + layer("Python", f'python_param {{ module: "{module}" layer: "L" }}')


@pytest.mark.parametrize(
    "text, words",
    [
        ('layer { name: "a"\n  tipe: "ReLU" }', ["net.prototxt:2", "LayerParameter", "tipe"]),
        ('name: "a"\nlayer { name: "a" convolution_param { kernel: 3 } }', [":2:", "ConvolutionParameter", "kernel"]),
        ("layer { name: 3 }", [":1:"]),
        (IN + layer("Rilu"), ["'a'", "Rilu", "ReLU", "Convolution"]),
        (layer("ReLU", bottom="y"), ["layer 'a'", "no layer before it has the top 'y'"]),
        (IN + layer("ReLU", 'top: "z"'), ["'a'", "ReLU takes 1 top"]),
        (IN + layer("Eltwise"), ["'a'", "2 or more bottom"]),
        (IN + IN.replace('"in"', '"b"'), ["'b'", "top 'x' already"]),
        (
            IN + layer("InnerProduct", 'inner_product_param { num_output: 2 weight_filler { type: "gausian" } }'),
            ["gausian", "gaussian"],
        ),
        (IN + layer("Reshape", "reshape_param { shape { dim: 4 dim: -1 } }"), ["'a'", "does not divide"]),
        (IN + layer("Convolution"), ["'a'", "num_output"]),
        (IN + layer("ReLU", "loss_weight: nan"), ["'a'", "loss_weight is nan"]),
        (
            IN + layer("InnerProduct", "inner_product_param { num_output: 2 weight_filler { std: inf } }"),
            ["weight_filler: std is inf"],
        ),
        (IN + layer("ReLU", "loss_weight: 1 loss_weight: 2"), ["loss_weight", "'a'"]),
        (IN + layer("ReLU", "param { lr_mult: 1 }"), ["'a'", "param"]),
        (IN + layer("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"), ["include"]),
        (data("backend: LMDB"), ["nowhere"]),
        (data(""), ["LEVELDB", "LMDB"]),
        (python("no_such"), ["'a'", "no_such", "PYTHONPATH"]),
        (python("json"), ["'a'", "json", "'L'"]),
        (IN + layer("Pooling", "pooling_param { kernel_size: 2 }"), ["'a'", "4 axes"]),
        (
            IN
            + layer("InnerProduct", 'inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: -1 } }'),
            ["'a'", "InnerProduct", "std"],
        ),
        (
            IN + layer("InnerProduct", "inner_product_param { num_output: 2147483647 }"),
            ["'a'", "more than 2147483647 numbers"],
        ),
        (IN + layer("Slice", 'top: "z" slice_param { slice_dim: 9 }'), ["'a'", "axis 9 is out of range"]),
        (IN + layer("Concat", "concat_param { concat_dim: 7 }"), ["'a'", "axis 7 is out of range"]),
        (python(""), ["'a'", "module is ''"]),
        (python(".x"), ["'a'", "module is '.x'"]),
        (IN + layer("x" * 5000), ["'a'", "unknown layer type"]),
        ('name: "tiny" \0', [":1:14"]),
        # Only computing tells that no machine can.
        (IMAGE + layer("LRN", "lrn_param { local_size: 4294967295 }"), ["'a'", "LRN"]),
    ],
)
def test_errors_are_exceptions_that_say_where(text, words, tmp_path):
    with pytest.raises(caffe.CaffeError) as error:
        build(tmp_path, text).forward()
    message = str(error.value)
    assert all(word in message for word in words) and message.isprintable() and len(message) <= 1000, message


def test_a_gradient_to_labels_is_refused(tmp_path):
    text = IN + IN.replace('"in"', '"t"').replace('"x"', '"t"')
    net = build(tmp_path, "force_backward: true\n" + text + layer("SigmoidCrossEntropyLoss", 'bottom: "t"'))
    net.nodes[-1].propagate_down[1] = True
    with pytest.raises(caffe.CaffeError, match="layer 'a': SigmoidCrossEntropyLoss has no gradient to bottom 1, 't'"):
        net.backward()


@pytest.mark.parametrize("attribute, kind", (("supports_tensors", "Tensor"), ("other", "ndarray")))
def test_a_python_layer_that_supports_tensors_gets_tensors(attribute, kind, tmp_path, monkeypatch):
    (tmp_path / f"layer_{attribute}.py").write_text(
        f"import caffe\nclass L(caffe.Layer):\n    {attribute} = True\n    def reshape(self, bottom, top):\n"
        "        top[0].reshape(*bottom[0].shape)\n    def forward(self, bottom, top):\n"
        "        self.kind = type(bottom[0].data).__name__\n        top[0].data[...] = 2 * bottom[0].data\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    net = build(tmp_path, python(f"layer_{attribute}"))
    net.blobs["x"].data[...] = 3
    assert (net.forward()["y"] == 6).all() and net.layers[1].kind == kind


# Modules around nets ------------------------------------------------------------------------------------------

IMAGES = """
from caffe import io
rng = np.random.RandomState(0)
image, mean = rng.uniform(size=(9, 12, 3)), rng.uniform(size=(3, 4, 5))
transformer = io.Transformer({"x": (1, 3, 6, 8)})
transformer.set_transpose("x", (2, 0, 1))
transformer.set_channel_swap("x", (2, 1, 0))
transformer.set_raw_scale("x", 255)
transformer.set_mean("x", mean)
transformer.set_input_scale("x", 0.5)
result["preprocessed"] = transformer.preprocess("x", image)
result["deprocessed"] = transformer.deprocess("x", result["preprocessed"])
for number, shape in enumerate(((9, 12), (6, 8), (20, 30), (5, 30))):
    result["resized %d" % number] = io.resize_image(image, shape)
result["channels"] = io.resize_image(rng.uniform(size=(6, 7, 5)), (9, 5))
result["crops"] = io.oversample([image], (6, 8))
blob = io.blobproto_to_array(io.array_to_blobproto(mean))
vector = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str([mean, image]))
result["blobs"] = np.concatenate([array.ravel() for array in (blob, *vector)])
result["datum"] = io.datum_to_array(io.array_to_datum((image * 255).astype(np.uint8), 3))
"""


def test_images_are_prepared_as_by_pycaffe(bvlc):
    theirs, _ = bvlc.code(IMAGES)
    space = {"np": np, "result": {}}
    exec(IMAGES, space)
    for name, array in theirs.items():
        np.testing.assert_allclose(space["result"][name], array, rtol=1e-5, atol=2e-5, err_msg=name)


CROP = """
n = caffe.NetSpec()
n.data = L.Input(input_param=dict(shape=dict(dim=[1, 3, 64, 48])))
n.conv = L.Convolution(n.data, num_output=4, kernel_size=4, stride=2, pad=30)
n.relu = L.ReLU(n.conv)
n.pool = L.Pooling(n.relu, kernel_size=2, stride=2)
n.score = L.Convolution(n.pool, num_output=2, kernel_size=1)
n.up = L.Deconvolution(n.score, convolution_param=dict(num_output=2, kernel_size=8, stride=4))
n.crop = crop(n.up, n.data)
text = str(n.to_proto())
"""


def test_a_net_is_written_cropped_and_drawn(bvlc, tmp_path):
    """A fully convolutional net: the same prototxt as by pycaffe, and the top's shape is the input's."""
    theirs = "from caffe import layers as L\nfrom caffe.coord_map import crop\n" + CROP + 'facts["text"] = text\n'
    space = {"caffe": caffe, "L": L, "crop": crop}
    exec(CROP, space)
    assert space["text"] == bvlc.code(theirs)[1]["text"]
    net = build(tmp_path, space["text"])
    assert net.blobs["crop"].shape[2:] == (64, 48)
    draw.draw_net_to_file(space["n"].to_proto(), tmp_path / "net.dot")
    picture = (tmp_path / "net.dot").read_text()
    assert '"conv_Convolution" -> "conv_blob" [label="4"]' in picture and "kernel size: 4" in picture
