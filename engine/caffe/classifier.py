"""Classifier: a deploy net that predicts the classes of images, by default as the mean over ten crops (pycaffe)."""

import numpy as np

from . import TEST, io
from .pycaffe import Net


class Classifier(Net):
    """model_file: a deploy prototxt with one input; pretrained_file: its weights.

    image_dims: (height, width) in pixels to which images are resized before cropping; default: the net's input size
    mean, input_scale, raw_scale, channel_swap: see io.Transformer
    Raises CaffeError, as Net does.
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        image_dims=None,
        mean=None,
        input_scale=None,
        raw_scale=None,
        channel_swap=None,
    ):
        Net.__init__(self, model_file, TEST, weights=pretrained_file)
        name = self.inputs[0]
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[name].data.shape[2:])
        self.image_dims = image_dims if image_dims else self.crop_dims

    def predict(self, inputs, oversample=True):
        """The net's output, an array (N, classes), for an iterable of N images (height, width, channels).

        oversample: whether to average over ten crops (the corners, the centre and their mirror images) instead of using
            the centre crop only
        """
        name = self.inputs[0]
        height, width = (int(size) for size in self.image_dims)
        images = np.array([io.resize_image(image, (height, width)) for image in inputs], dtype=np.float32)
        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            top, left = (int(whole / 2 - part / 2) for whole, part in zip((height, width), self.crop_dims))
            crops = images[:, top : top + self.crop_dims[0], left : left + self.crop_dims[1]]
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], dtype=np.float32)
        predictions = self.forward_all(**{name: batch})[self.outputs[0]]
        return predictions.reshape(len(predictions) // 10, 10, -1).mean(1) if oversample else predictions


def image_transformer(net, mean, input_scale, raw_scale, channel_swap):
    """An io.Transformer from images as io.load_image returns them to the first input of a net."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    settings = {"mean": mean, "input_scale": input_scale, "raw_scale": raw_scale, "channel_swap": channel_swap}
    for setting, value in settings.items():
        if value is not None:
            getattr(transformer, f"set_{setting}")(name, value)
    return transformer
