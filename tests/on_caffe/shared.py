"""What the tests of whole networks share: the Caffe under test, its program, and reading of weights."""

import os
import pathlib
import subprocess

import caffe
import numpy as np
from caffe.proto import caffe_pb2

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# The program that belongs to the Caffe this Python imports: BVLC's or engine/caffe.
ENGINE = "bvlc" if hasattr(caffe, "_caffe") else "torch"
CAFFE = str(REPOSITORY / (".caffe" if ENGINE == "bvlc" else ".venv") / "bin/caffe")
ATTRIBUTES = ["Eyeglasses", "Male"]
BATCHES, B = 3, 2


def caffe_train(*arguments, folder):
    environment = dict(os.environ, GLOG_minloglevel="0")
    command = [CAFFE, "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=str(folder))


def weights(path):
    """The blobs of a .caffemodel: dict "layer[index]" -> flat float32 array."""
    message = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {
        f"{layer.name}[{index}]": np.array(blob.data, dtype=np.float32)
        for layer in message.layer
        for index, blob in enumerate(layer.blobs)
    }
