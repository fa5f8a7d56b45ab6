"""The surface of pycaffe: what there is, live arrays, passes, callbacks, files, and errors that are exceptions."""

import gc
import sys
import types

import caffe
import cv2
import numpy as np
import pytest
import torch
from caffe import draw, solver
from caffe.blob import BlobVec
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from parity import build, compare, layer
from test_graph import X, ip, named


def names():
    """Names of methods and functions of pycaffe, and of their parameters."""
    import importlib
    import inspect

    found = {"caffe": [name for name in dir(caffe) if not name.startswith("_")]}
    for name in ("Net", "Blob", "Layer", "Solver", "SGDSolver", "BlobVec", "Timer"):
        cls = getattr(caffe, name, None) or getattr(caffe._caffe, name)
        found[name] = [n for n in dir(cls) if not n.startswith("__") and (name != "BlobVec" or n == "add_blob")]
    for name in ("io", "net_spec", "coord_map", "classifier", "detector"):
        module = importlib.import_module("caffe." + name)
        for label, thing in vars(module).items():
            if getattr(thing, "__module__", "") == module.__name__ and not label.startswith("_"):
                functions = vars(thing).values() if inspect.isclass(thing) else [thing]
                for function in filter(inspect.isfunction, functions):
                    found[name + "." + function.__qualname__] = list(inspect.signature(function).parameters)
    return found


def test_everything_pycaffe_has_is_there(bvlc, monkeypatch):
    # The engine has no extension module; what pycaffe keeps there is looked up where it is.
    extension = {"BlobVec": BlobVec, "Solver": solver.Solver, "Blob": caffe.Blob}
    monkeypatch.setattr(caffe, "_caffe", type("extension", (), extension), raising=False)
    ours = names()
    for name, expected in bvlc(names).items():
        missing = set(expected) - set(ours.get(name, ())) - {"type", "_caffe"}
        assert not missing, f"{name}: {sorted(missing)}"


def schema():
    """caffe.proto, compiled."""
    from caffe.proto import caffe_pb2

    return {"proto": np.frombuffer(caffe_pb2.DESCRIPTOR.serialized_pb, np.uint8)}


def test_schema_is_that_of_a_real_caffe(bvlc):
    """Every message, field, number, type, default and enum value."""
    ours, theirs = (FileDescriptorProto.FromString(found["proto"].tobytes()) for found in (schema(), bvlc(schema)))
    for file in (ours, theirs):
        for message in file.message_type:
            message.field.sort(key=lambda field: field.number)
            for field in message.field:  # compilers write different numbers of digits
                if field.type == field.TYPE_FLOAT and field.default_value:
                    field.default_value = f"{float(field.default_value):.6g}"
    assert ours == theirs


TEXT = """
name: "small" force_backward: true
layer { name: "in" type: "Input" top: "x" top: "z" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param {
        num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }
layer { name: "pool" type: "Pooling" bottom: "y" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "sum" type: "Reduction" bottom: "p" top: "loss" loss_weight: 2 }
layer { name: "rest" type: "Silence" bottom: "z" }
"""


def story(folder):
    """What a caller of a net sees, in arrays that were taken before and after."""
    path, found, calls = folder + "/net.prototxt", {}, []

    def see(what):
        weights, bias = net.params["conv"]
        seen = {**kept, "weights now": weights.data, "bias now": bias.data, "gradient": weights.diff}
        seen.update((f"{name} now", blob.data) for name, blob in net.blobs.items())
        found.update((f"{what}: {name}", array.copy()) for name, array in seen.items())

    net = caffe.Net(path, caffe.TRAIN, weights=folder + "/start")
    x = np.random.RandomState(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    kept = {name: blob.data for name, blob in net.blobs.items()}
    kept.update(part=kept["y"][1, 2], diff=net.blobs["y"].diff, bias=net.params["conv"][1].data)
    net.forward(x=x[:2], z=x[:2])
    net.backward()
    see("a pass")
    kept["x"][...] += 1
    found["returned"] = [sorted(net.forward(blobs=["p"])), sorted(net.backward(diffs=["y"]))]
    see("gradients add up")
    net.clear_param_diffs()
    kept["y"][...] = 3
    net.blobs["y"].data.reshape(-1)[0] = 8
    net.forward(start="pool")
    net.blobs["p"].diff[...] = 1
    net.blobs["p"].diff[0, 0, 0, 0] = 7
    found["ends"] = [sorted(net.forward(start="tanh", end="pool")), sorted(net.backward(start="pool", end="tanh"))]
    see("a part of the net")
    kept["bias"][...] = [1, 2, 3, -4]
    net.forward()
    see("another bias")
    kept.clear()
    # What was derived from data and weights, while nobody holds an array, is computed anew when they change.
    net.forward()
    net.blobs["x"].data[...] = 0
    net.backward()
    see("data that change in between")
    net.forward(x=x[:2], z=x[:2])
    net.params["conv"][0].data[...] = 0
    net.backward()
    net.forward()
    see("other weights")
    net.save(folder + "/other")
    net.forward()
    net.copy_from(folder + "/start")
    net.forward()
    see("weights of a file")
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda number, name=name: calls.append([name, number]))
    net.forward(start="tanh", end="pool")
    net.backward(start="pool", end="tanh")
    found["calls"] = calls
    found["layers"] = [[name, layer.type, len(layer.blobs)] for name, layer in net.layer_dict.items()]
    other = caffe.Net(path, caffe.TEST, weights=folder + "/other")
    found["written"] = other.params["conv"][1].data.copy()
    other.share_with(net)
    net.params["conv"][0].data[...] = 5
    found["shared"] = other.params["conv"][0].data.copy()
    blob = net.blobs["x"]
    first = blob.shape[0]
    blob.data[...] = np.arange(blob.count).reshape(blob.data.shape)
    blob.reshape(first - 1, *list(blob.shape)[1:])
    found["cut"] = blob.data.copy()
    blob.reshape(5, 3, 6, 6)
    net.reshape()
    found["reshaped"] = [blob.num, blob.channels, blob.height, blob.width, blob.count, list(net.blobs["p"].shape)]
    return found


@pytest.mark.parametrize("precision, bound", (("float32", 1e-5), ("bfloat16", 2e-2)))
def test_nets_are_used_as_in_pycaffe(precision, bound, bvlc, tmp_path):
    caffe.set_random_seed(1)
    build(tmp_path, TEXT).save(tmp_path / "start")
    theirs = bvlc(story, folder=str(tmp_path))
    caffe.set_precision(precision)
    compare(story(str(tmp_path)), theirs, forward=bound)


class Array(np.ndarray):
    pass


@pytest.mark.parametrize(
    "keep",
    (lambda array: array.view(Array)[1:, ::2].T, memoryview, torch.from_numpy, lambda array: lambda: [array]),
    ids=("a view of a part", "a buffer", "a tensor", "in a closure"),
)
def test_every_way_to_keep_an_array_counts_until_it_is_given_up(keep, monkeypatch):
    """Whether a caller holds an array is not decided by counting references, which not every Python does alike."""
    monkeypatch.delattr(sys, "getrefcount", raising=False)
    memory = caffe.Blob(2, 3).data_memory
    assert not memory.is_viewed()
    kept = keep(memory.array((2, 3)))
    gc.collect()
    memory.set(torch.arange(6.0).reshape(3, 2).t())  # shows in the array, in C order
    assert memory.is_viewed() and memory.array((2, 3)).tolist() == [[0, 2, 4], [1, 3, 5]]
    del kept
    gc.collect()
    assert not memory.is_viewed()


def test_arrays_are_c_ordered_float32_and_other_formats_and_wrong_names_are_known(tmp_path):
    net = build(tmp_path, TEXT)
    net.forward()
    for blob in (*net.blobs.values(), *net.params["conv"]):
        for array in (blob.data, blob.diff):
            assert array.dtype == np.float32 and array.flags.c_contiguous and array.shape == tuple(blob.shape)
    weights = net.params["conv"][0].data
    expected = weights.copy()
    net.save_hdf5(str(tmp_path / "w.h5"))
    for read in (net.load_hdf5, net.copy_from):
        weights[...] = 0
        read(str(tmp_path / "w.h5"))
        np.testing.assert_array_equal(weights, expected)
    # The last batch is filled up. In pycaffe this does not run with Python 3.7 and later.
    x = np.random.default_rng(0).normal(size=(5, 3, 4, 4))
    out, diffs = net.forward_backward_all(blobs=["p"], diffs=["y"], x=x, z=x)
    np.testing.assert_array_equal(out["p"], net.forward_all(blobs=["p"], x=x, z=x)["p"])
    np.testing.assert_array_equal(out["p"][2:4], net.forward(blobs=["p"], x=x[2:4], z=x[2:4])["p"])
    assert diffs["y"].shape == (5, 4, 4, 4) and diffs["y"].any()
    with pytest.warns(UserWarning, match="old form"):
        caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "w.h5"), caffe.TEST)
    with pytest.raises(caffe.CaffeError, match="do not match net blobs"):
        net.forward(x=net.blobs["x"].data)
    with pytest.raises(caffe.CaffeError, match="no layer 'nowhere'"):
        net.forward(end="nowhere")
    with pytest.raises(caffe.CaffeError, match="cannot have the shape"):
        net.blobs["x"].reshape(-1, 2)


IN = layer("Input", "", "x", "input_param { shape { dim: 2 dim: 3 } }", "in")
IMAGE = IN.replace("dim: 3", "dim: 3 dim: 9 dim: 9")
LABELS = IN + layer("Bias", "x", "t", name="labels")


def one(kind, body="", tops="y", before=IN, bottom="x"):
    return before + layer(kind, bottom, tops, body, "a")


def filled(filler, outputs=2):
    return one("InnerProduct", f"inner_product_param {{ num_output: {outputs} weight_filler {{ {filler} }} }}")


def shared(first, second, outputs=4):
    """Two layers that share the parameter w; more of its fields in each."""
    return X + ip("b", "x", "h", extra=named("w", more=first)) + ip("a", "h", "y", outputs, named("w", more=second))


def data(rest):
    body = f'data_param {{ source: "nowhere" batch_size: 1 {rest} }}'
    return one("Data", body, "x", "", "")


def python(module):
    return one("Python", f'python_param {{ module: "{module}" layer: "L" }}')


def test_a_loss_without_a_top_is_no_output(tmp_path):
    assert build(tmp_path, one("EuclideanLoss", tops="", bottom="x t", before=LABELS)).outputs == []


@pytest.mark.parametrize(
    "text, words",
    [
        ('layer { name: "a"\n  tipe: "ReLU" }', ["net.prototxt:2", "LayerParameter", "tipe"]),
        (one("Rilu"), ["'a'", "Rilu", "ReLU", "Convolution"]),
        (one("ReLU", bottom="y"), ["layer 'a'", "no layer before it has the top 'y'"]),
        (one("ReLU", tops="y z"), ["'a'", "ReLU takes 1 top"]),
        (one("Eltwise"), ["'a'", "2 or more bottom"]),
        (IN + IN.replace('"in"', '"b"'), ["'b'", "top 'x' already"]),
        (filled('type: "gausian"'), ["'a'", "gausian", "gaussian"]),
        (X + ip("a", "x", "y") + ip("a", "y", "z"), ["layer 'a'", "another layer with parameters has this name"]),
        (one("InnerProduct", "blobs { data: 1 }"), ["layer 'a'", "blobs in a prototxt"]),
        (filled("std: inf"), ["weight_filler: std is inf"]),
        (filled('type: "gaussian" std: -1'), ["'a'", "InnerProduct", "std"]),
        (filled("", outputs=2147483647), ["'a'", "more than 2147483647 numbers"]),
        (filled('type: "msra"').replace("dim: 3", "dim: 0"), ["msra: a blob of shape (2, 0) has no numbers"]),
        (one("Reshape", "reshape_param { shape { dim: 4 dim: -1 } }"), ["'a'", "does not divide"]),
        (one("Convolution"), ["'a'", "num_output"]),
        (one("ReLU", "loss_weight: nan"), ["'a'", "loss_weight is nan"]),
        (one("ReLU", "loss_weight: 1 loss_weight: 2"), ["loss_weight", "'a'"]),
        (one("ReLU", "param { lr_mult: 1 }"), ["'a'", "param"]),
        (one("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"), ["include"]),
        (data("backend: LMDB"), ["nowhere"]),
        (data(""), ["LEVELDB", "LMDB"]),
        (python("no_such"), ["'a'", "no_such", "PYTHONPATH"]),
        (python("json"), ["'a'", "json", "'L'"]),
        (python(".x"), ["'a'", "module is '.x'"]),
        (one("Pooling", "pooling_param { kernel_size: 2 }"), ["'a'", "4 axes"]),
        (one("Slice", "slice_param { slice_dim: 9 }", "y z"), ["'a'", "axis 9 is out of range"]),
        (shared("lr_mult: 2", "lr_mult: 1"), ["'w'", "lr_mult is 1"]),
        (shared("", "", outputs=2), ["'w'", "shape"]),
        (one("ReLU", "propagate_down: true " * 2), ["'a'", "propagate_down"]),
        # Only the backward pass tells that there is no gradient to labels, and only computing that no machine can.
        (
            one("SigmoidCrossEntropyLoss", "propagate_down: true " * 2, bottom="x t", before=LABELS),
            ["layer 'a': SigmoidCrossEntropyLoss has no gradient to bottom 1, 't'"],
        ),
        (one("LRN", "lrn_param { local_size: 4294967295 }", before=IMAGE), ["'a'", "LRN"]),
    ],
)
def test_errors_are_exceptions_that_say_where(text, words, tmp_path):
    with pytest.raises(caffe.CaffeError) as error:
        net = build(tmp_path, text)
        net.forward()
        net.backward()
    message = str(error.value)
    assert all(word in message for word in words) and message.isprintable() and len(message) <= 1000, message


@pytest.mark.parametrize("tensors, kind", ((True, torch.Tensor), (False, np.ndarray)))
def test_a_python_layer_that_supports_tensors_gets_tensors(tensors, kind, tmp_path, monkeypatch):
    class L(caffe.Layer):
        supports_tensors = tensors

        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward(self, bottom, top):
            assert type(bottom[0].data) is kind
            top[0].data[...] = 2 * bottom[0].data

    monkeypatch.setitem(sys.modules, "doubles", types.SimpleNamespace(L=L))
    net = build(tmp_path, python("doubles"))
    net.blobs["x"].data[...] = 3
    assert (net.forward()["y"] == 6).all()


# Modules around nets ------------------------------------------------------------------------------------------


def prepared(file, net, weights):
    """What caffe.io, Classifier and Detector make of images."""
    from caffe import io

    rng = np.random.RandomState(0)
    image, mean = rng.uniform(size=(9, 12, 3)), rng.uniform(size=(3, 4, 5))
    transformer, found = io.Transformer({"x": (1, 3, 6, 8)}), {}
    transformer.set_transpose("x", (2, 0, 1))
    transformer.set_channel_swap("x", (2, 1, 0))
    transformer.set_raw_scale("x", 255)
    transformer.set_mean("x", mean)
    transformer.set_input_scale("x", 0.5)
    found["preprocessed"] = transformer.preprocess("x", image)
    found["deprocessed"] = transformer.deprocess("x", found["preprocessed"])
    for number, shape in enumerate(((9, 12), (6, 8), (20, 30), (5, 30))):
        found[f"resized {number}"] = io.resize_image(image, shape)
    found["channels"] = io.resize_image(rng.uniform(size=(6, 7, 5)), (9, 5))
    found["crops"] = io.oversample([image], (6, 8))
    found["blob"] = io.blobproto_to_array(io.array_to_blobproto(mean))
    vector = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str([mean, image]))
    found["first"], found["second"] = vector
    found["datum"] = io.datum_to_array(io.array_to_datum((image * 255).astype(np.uint8), 3))
    found["grey"], found["colour"] = io.load_image(file, color=False), io.load_image(file)
    settings = {"mean": np.array([3, 4, 5]), "raw_scale": 255, "input_scale": 0.1, "channel_swap": (2, 1, 0)}
    classifier = caffe.Classifier(net, weights, image_dims=(8, 9), **settings)
    for oversample in (True, False):
        found[f"classes {oversample}"] = classifier.predict([image, image[:, ::-1]], oversample)
    detector = caffe.Detector(net, weights, **settings)
    for number, window in enumerate(detector.detect_windows([(file, [(0, 0, 6, 7), (2, 1, 8, 9)])])):
        found[f"window {number}"] = window["prediction"]
    return found


def test_images_are_prepared_as_by_pycaffe(bvlc, tmp_path):
    text = layer("Input", "", "x", "input_param { shape { dim: 4 dim: 3 dim: 5 dim: 6 } }", "in")
    text += layer("InnerProduct", "x", "y", 'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }')
    build(tmp_path, text).save(tmp_path / "weights")
    cv2.imwrite(str(tmp_path / "x.png"), np.random.default_rng(0).integers(0, 256, (10, 11, 3), np.uint8))
    words = {"file": "x.png", "net": "net.prototxt", "weights": "weights"}
    words = {name: str(tmp_path / path) for name, path in words.items()}
    ours, theirs = prepared(**words), bvlc(prepared, **words)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-5, atol=2e-5, err_msg=name)


def written():
    """A fully convolutional net, whose top is cropped to the shape of its input."""
    from caffe import layers as L
    from caffe.coord_map import crop

    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, 64, 48]}})
    n.conv = L.Convolution(n.data, num_output=4, kernel_size=4, stride=2, pad=30)
    n.relu = L.ReLU(n.conv)
    n.pool = L.Pooling(n.relu, kernel_size=2, stride=2)
    n.score = L.Convolution(n.pool, num_output=2, kernel_size=1)
    n.up = L.Deconvolution(n.score, convolution_param={"num_output": 2, "kernel_size": 8, "stride": 4})
    n.crop = crop(n.up, n.data)
    n.silence = L.Silence(n.score, ntop=0)
    return {"text": str(n.to_proto())}


def test_a_net_is_written_cropped_and_drawn(bvlc, tmp_path):
    text = written()["text"]
    assert text == bvlc(written)["text"]
    assert build(tmp_path, text).blobs["crop"].shape[2:] == (64, 48)
    draw.draw_net_to_file(text_format.Parse(text, caffe_pb2.NetParameter()), tmp_path / "net.dot")
    picture = (tmp_path / "net.dot").read_text()
    assert '"conv_Convolution" -> "conv_blob" [label="4"]' in picture and "kernel size: 4" in picture
