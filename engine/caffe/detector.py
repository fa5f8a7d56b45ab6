"""Detector: a deploy net that answers for windows of images, with their surroundings on request."""

import numpy as np

from . import io
from .classifier import image_transformer
from .context import TEST
from .errors import CaffeError
from .pycaffe import Net


class Detector(Net):
    """model_file: a deploy prototxt with one input; pretrained_file: its weights.

    context_pad: pixels of surroundings, in the net's input; mean, input_scale, raw_scale, channel_swap: see
    io.Transformer
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        mean=None,
        input_scale=None,
        raw_scale=None,
        channel_swap=None,
        context_pad=None,
    ):
        Net.__init__(self, model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows):
        """Answers for windows: images_windows is an iterable of (file name, list of (ymin, xmin, ymax, xmax)).

        Returns a list of dicts with "window", "prediction" and "filename".
        """
        name, crops, found = self.inputs[0], [], []
        for filename, windows in images_windows:
            image = io.load_image(filename).astype(np.float32)
            for window in windows:
                crops.append(self.crop(image, window))
                found.append({"window": window, "filename": filename})
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], dtype=np.float32)
        answers = self.forward_all(**{name: batch})[self.outputs[0]]
        return [dict(row, prediction=answer) for row, answer in zip(found, answers.reshape(len(answers), -1))]

    def detect_selective_search(self, image_fnames):
        """As pycaffe's, which calls a MATLAB program for the windows; that is not supported."""
        raise CaffeError(
            "detect_selective_search needs a MATLAB program; find windows yourself and call detect_windows"
        )

    def crop(self, im, window):
        """A window (ymin, xmin, ymax, xmax) of an image; with context_pad, its surroundings too, scaled to the input.

        What lies outside the image is filled with the mean.
        """
        box = np.round(np.asarray(window, dtype=np.float64)).astype(int)
        part = im[box[0] : box[2], box[1] : box[3]]
        if not self.context_pad:
            return part
        name = self.inputs[0]
        size = self.blobs[name].data.shape[3]
        scale = size / (size - 2 * self.context_pad)
        half_high, half_wide = (box[2] - box[0] + 1) / 2, (box[3] - box[1] + 1) / 2
        centre = box[0] + half_high, box[1] + half_wide
        signs = np.array([-1, -1, 1, 1])
        box = np.round(np.tile(centre, 2) + signs * scale * np.tile((half_high, half_wide), 2))
        high, wide = box[2] - box[0] + 1, box[3] - box[1] + 1
        scale_y, scale_x = size / high, size / wide
        # How far the window reaches beyond the image, and where the rest belongs in the crop.
        pad_y, pad_x = round(max(0, -box[0]) * scale_y), round(max(0, -box[1]) * scale_x)
        clipped = np.clip(box, 0, [im.shape[0], im.shape[1]] * 2).astype(int)
        rows, columns = clipped[2] - clipped[0] + 1, clipped[3] - clipped[1] + 1
        rows, columns = round(rows * scale_y), round(columns * scale_x)
        rows, columns = min(rows, size - pad_y), min(columns, size - pad_x)
        inner = im[clipped[0] : clipped[2], clipped[1] : clipped[3]]
        crop = np.ones(self.crop_dims, dtype=np.float32) * self.crop_mean
        crop[pad_y : pad_y + rows, pad_x : pad_x + columns] = io.resize_image(inner, (rows, columns))
        return crop

    def configure_crop(self, context_pad):
        """Set context_pad, and the mean that fills crops beyond the image."""
        name = self.inputs[0]
        shape = self.blobs[name].data.shape
        order = self.transformer.transpose[name]
        self.crop_dims = np.array(shape)[1:][np.argsort(order)]
        self.context_pad = context_pad
        if not context_pad:
            return
        mean = self.transformer.mean.get(name)
        if mean is None:
            self.crop_mean = np.zeros(self.crop_dims, dtype=np.float32)
            return
        mean = np.broadcast_to(mean, shape[1:])
        swap, raw_scale = self.transformer.channel_swap.get(name), self.transformer.raw_scale.get(name)
        if raw_scale is not None:
            mean = mean / raw_scale
        if swap is not None:
            mean = mean[np.argsort(swap)]
        self.crop_mean = mean.transpose(np.argsort(order))
