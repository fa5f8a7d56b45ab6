"""AlexNet and GoogLeNet, in the engine's NetSpec from their papers, load in both engines and agree.

Krizhevsky et al., NIPS 2012 (AlexNet; two GPUs are two groups); Szegedy et al., CVPR 2015 (table 1, with the two
auxiliary classifiers in training). All layers are narrowed, and there are ten classes.
"""

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe import params as P
from parity import build, compare, replay

SHARE, CLASSES = 1 / 8, 10  # of the papers' channels


class Builder:
    """Layers with the weights' rates and fillers all these nets share."""

    def __init__(self, size, train):
        self.net, self.train = caffe.NetSpec(), train
        self.net.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
        if train:
            self.net.label = L.Input(input_param={"shape": {"dim": [1]}})

    def channels(self, count):
        return max(2, int(count * SHARE) // 2 * 2)

    def convolution(self, name, bottom, count, kernel, filler="xavier", **more):
        """A Convolution with its ReLU; count: of the paper."""
        rates = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
        top = self.net[name] = L.Convolution(
            bottom,
            num_output=self.channels(count),
            kernel_size=kernel,
            param=rates,
            weight_filler={"type": filler} if filler != "gaussian" else {"type": filler, "std": 0.05},
            bias_filler={"type": "constant", "value": 0.1},
            **more,
        )
        return self.relu(name, top)

    def relu(self, name, top):
        self.net[f"relu_{name}"] = L.ReLU(top, in_place=True)
        return self.net[f"relu_{name}"]

    def pool(self, name, bottom, kernel=3, stride=2, kind=P.Pooling.MAX, **more):
        self.net[name] = L.Pooling(bottom, pool=kind, kernel_size=kernel, stride=stride, **more)
        return self.net[name]

    def norm(self, name, bottom):
        self.net[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
        return self.net[name]

    def full(self, name, bottom, count, dropout=None):
        self.net[name] = L.InnerProduct(
            bottom, num_output=count, weight_filler={"type": "xavier"}, bias_filler={"type": "constant", "value": 0.1}
        )
        top = self.net[name]
        if dropout:
            top = self.relu(name, top)
            self.net[f"drop_{name}"] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
            top = self.net[f"drop_{name}"]
        return top

    def answer(self, scores, name="loss", weight=1):
        """A loss in training, probabilities otherwise."""
        if self.train:
            self.net[name] = L.SoftmaxWithLoss(scores, self.net.label, loss_weight=weight)
        else:
            self.net.prob = L.Softmax(scores)

    def text(self, name):
        proto = self.net.to_proto()
        proto.name = name
        return str(proto)


def alexnet(train=False):
    b = Builder(227, train)
    x = b.convolution("conv1", b.net.data, 96, 11, "gaussian", stride=4)
    x = b.pool("pool1", b.norm("norm1", x))
    x = b.convolution("conv2", x, 256, 5, "gaussian", pad=2, group=2)
    x = b.pool("pool2", b.norm("norm2", x))
    x = b.convolution("conv3", x, 384, 3, "gaussian", pad=1)
    x = b.convolution("conv4", x, 384, 3, "gaussian", pad=1, group=2)
    x = b.pool("pool5", b.convolution("conv5", x, 256, 3, "gaussian", pad=1, group=2))
    for name in ("fc6", "fc7"):
        x = b.full(name, x, b.channels(4096), dropout=0.5)
    b.answer(b.full("fc8", x, CLASSES))
    return b.text("AlexNet")


# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool's projection.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(train=False):
    b = Builder(224, train)

    def inception(name, x):
        one, reduce3, three, reduce5, five, project = INCEPTIONS[name]
        head = f"inception_{name}/"
        parts = [b.convolution(head + "1x1", x, one, 1)]
        parts.append(b.convolution(head + "3x3", b.convolution(head + "3x3_reduce", x, reduce3, 1), three, 3, pad=1))
        parts.append(b.convolution(head + "5x5", b.convolution(head + "5x5_reduce", x, reduce5, 1), five, 5, pad=2))
        pooled = b.pool(head + "pool", x, 3, 1, pad=1)
        parts.append(b.convolution(head + "pool_proj", pooled, project, 1))
        b.net[head + "output"] = L.Concat(*parts)
        return b.net[head + "output"]

    def auxiliary(number, x):
        head = f"loss{number}/"
        y = b.convolution(head + "conv", b.pool(head + "ave_pool", x, 5, 3, P.Pooling.AVE), 128, 1)
        b.answer(
            b.full(head + "classifier", b.full(head + "fc", y, b.channels(1024), 0.7), CLASSES), head + "loss", 0.3
        )

    x = b.pool("pool1", b.convolution("conv1", b.net.data, 64, 7, stride=2, pad=3))
    x = b.convolution("conv2_reduce", b.norm("norm1", x), 64, 1)
    x = b.pool("pool2", b.norm("norm2", b.convolution("conv2", x, 192, 3, pad=1)))
    for name in INCEPTIONS:
        x = inception(name, x)
        if name in ("3b", "4e"):
            x = b.pool(f"pool{int(name[0])}", x)
        if train and name in ("4a", "4d"):
            auxiliary(1 if name == "4a" else 2, x)
    x = b.pool("pool5", x, 7, 1, P.Pooling.AVE)
    b.net["drop5"] = L.Dropout(x, dropout_ratio=0.4, in_place=True)
    b.answer(b.full("classifier", b.net["drop5"], CLASSES))
    return b.text("GoogLeNet")


NETS = {"AlexNet": alexnet, "GoogLeNet": googlenet}


@pytest.mark.parametrize("name", NETS)
def test_answers_and_gradients_agree(name, bvlc, tmp_path):
    text = "force_backward: true\n" + NETS[name]()
    data = np.random.default_rng(0).normal(scale=50, size=(1, 3, 227, 227)).astype(np.float32)
    data = data[..., :224, :224] if name == "GoogLeNet" else data
    result, names = bvlc.net(text, {"data": data}, backward=None)
    net = build(tmp_path, text)
    assert list(net.blobs) == names["blobs"] and net._layer_names == names["layers"]
    compare(replay(net, result, {"data": data}, backward=False), result)
    # Gradients begin at the scores. Where random weights give one class a probability of 1 - 1e-7, the softmax's
    # gradient p (dy - sum p dy) is the difference of equal numbers: in both engines nothing but rounding.
    text = text[: text.rindex("layer {")]
    assert "Softmax" not in text
    result, _ = bvlc.net(text, {"data": data})
    compare(replay(build(tmp_path, text), result, {"data": data}, in_step=True), result)


@pytest.mark.parametrize("name", NETS)
def test_training_nets_are_put_together_alike(name, bvlc, tmp_path):
    text = NETS[name](train=True)
    code = """
net = caffe.Net(case["path"], caffe.TRAIN)
facts.update(layers=list(net._layer_names), weights={k: float(v) for k, v in net.blob_loss_weights.items()},
             shapes={k: list(b.data.shape) for k, b in net.blobs.items()})
"""
    net = build(tmp_path, text, caffe.TRAIN)
    _, theirs = bvlc.code(code, path=str(tmp_path / "net.prototxt"))
    assert net._layer_names == theirs["layers"]
    assert net.blob_loss_weights == pytest.approx(theirs["weights"])
    assert {name: list(blob.shape) for name, blob in net.blobs.items()} == theirs["shapes"]
    net.blobs["data"].data[...] = 1
    assert np.isfinite(net.forward()[net.outputs[0]]).all()
    net.backward()
    assert all(np.isfinite(blob.diff).all() and blob.diff.any() for blob in net.params["conv1"])
