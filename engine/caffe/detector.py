"""Detector: a deploy net that classifies windows of images, on request with the context around them (R-CNN)."""

import numpy as np

from . import TEST, io
from .classifier import image_transformer
from .errors import CaffeError
from .pycaffe import Net


class Detector(Net):
    """model_file: a deploy prototxt with one input; pretrained_file: its weights.

    context_pad: width in pixels of the net's input of the context on each side of a window; default: none
    mean, input_scale, raw_scale, channel_swap: see io.Transformer
    Raises CaffeError, as Net does.
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
        """Classify windows: images_windows is an iterable of (file name, list of (ymin, xmin, ymax, xmax) in pixels).

        Returns a list with a dict per window: "window", "prediction" (a flat array) and "filename".
        """
        name, crops, results = self.inputs[0], [], []
        for filename, windows in images_windows:
            image = io.load_image(filename).astype(np.float32)
            for window in windows:
                crops.append(self.crop(image, window))
                results.append({"window": window, "filename": filename})
        batch = np.array([self.transformer.preprocess(name, crop) for crop in crops], dtype=np.float32)
        predictions = self.forward_all(**{name: batch})[self.outputs[0]]
        return [
            dict(result, prediction=prediction)
            for result, prediction in zip(results, predictions.reshape(len(predictions), -1))
        ]

    def detect_selective_search(self, image_fnames):
        """Raises CaffeError: pycaffe's method calls a MATLAB program for the windows, which is not supported."""
        raise CaffeError(
            "detect_selective_search needs a MATLAB program; compute windows otherwise and call detect_windows"
        )

    def crop(self, im, window):
        """A window (ymin, xmin, ymax, xmax) of an image (height, width, channels).

        With context_pad, the window is enlarged by its context and scaled to the net's input. The part of it that lies
        outside the image is filled with the mean.
        """
        box = np.round(np.asarray(window, dtype=np.float64)).astype(int)
        part = im[box[0] : box[2], box[1] : box[3]]
        if not self.context_pad:
            return part
        name = self.inputs[0]
        size = self.blobs[name].data.shape[3]
        scale = size / (size - 2 * self.context_pad)
        half_height, half_width = (box[2] - box[0] + 1) / 2, (box[3] - box[1] + 1) / 2
        centre = box[0] + half_height, box[1] + half_width
        signs = np.array([-1, -1, 1, 1])
        box = np.round(np.tile(centre, 2) + signs * scale * np.tile((half_height, half_width), 2))
        height, width = box[2] - box[0] + 1, box[3] - box[1] + 1
        scale_y, scale_x = size / height, size / width
        # The part of the window above and left of the image, and the size of the part inside it, in pixels of the crop.
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
        """Set context_pad, and crop_mean: the mean as an image (height, width, channels) before preprocessing."""
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
