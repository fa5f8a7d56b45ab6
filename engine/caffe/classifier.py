"""Classifier: a deploy net that answers for images, averaged over ten crops on request."""

import numpy as np

from . import io
from .context import TEST
from .pycaffe import Net


class Classifier(Net):
    """model_file: a deploy prototxt with one input; pretrained_file: its weights.

    image_dims: (height, width) images are scaled to before cropping, by default the crop's own; mean, input_scale,
    raw_scale, channel_swap: see io.Transformer
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
        """Answers (N, classes) for an iterable of images (height, width, channels).

        oversample: the mean over four corners, the centre and their mirror images, not the centre only
        """
        name = self.inputs[0]
        high, wide = (int(size) for size in self.image_dims)
        images = np.array([io.resize_image(image, (high, wide)) for image in inputs], dtype=np.float32)
        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            top, left = (int(whole / 2 - part / 2) for whole, part in zip((high, wide), self.crop_dims))
            crops = images[:, top : top + self.crop_dims[0], left : left + self.crop_dims[1]]
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], dtype=np.float32)
        answers = self.forward_all(**{name: batch})[self.outputs[0]]
        return answers.reshape(len(answers) // 10, 10, -1).mean(1) if oversample else answers


def image_transformer(net, mean, input_scale, raw_scale, channel_swap):
    """A Transformer for a net's first input that takes images as load_image gives them."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
