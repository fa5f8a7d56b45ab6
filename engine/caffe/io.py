"""Images and arrays for nets, as in pycaffe's io.py: conversion of messages, loading, resizing, crops, Transformer."""

import cv2
import numpy as np
from scipy import ndimage

from .proto import caffe_pb2


def blobproto_to_array(blob, return_diff=False):
    """The data (or diff) of a BlobProto as an array of its shape. Raises ValueError if their sizes differ."""
    data = np.array(blob.diff if return_diff else blob.data)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return data.reshape(blob.num, blob.channels, blob.height, blob.width)
    return data.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr, diff=None):
    """A BlobProto with an array as its data, and optionally another as its diff."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist):
    """Arrays as a serialised BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend(array_to_blobproto(array) for array in arraylist)
    return vector.SerializeToString()


def blobprotovector_str_to_arraylist(str):
    """The inverse of arraylist_to_blobprotovector_str."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr, label=None):
    """A Datum of an array (channels, height, width), as bytes if it is uint8 and as float_data otherwise.

    Raises ValueError for an array without three axes.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum):
    """The array (channels, height, width) of a Datum that is not encoded."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape).copy()
    return np.array(datum.float_data).astype(float).reshape(shape)


class Transformer:
    """Converts images, as load_image returns them, into the form of a net's inputs.

    inputs: dict of input name -> shape of its blob (N, C, H, W). `preprocess` resizes the image and applies, in this
    order, those of the following that are set: transpose, channel_swap, raw_scale (a factor), mean (subtracted) and
    input_scale (a factor). `deprocess` inverts all but the resizing. The methods raise Exception for an unknown input.
    """

    def __init__(self, inputs):
        self.inputs = inputs
        self.transpose, self.channel_swap, self.raw_scale = {}, {}, {}
        self.mean, self.input_scale = {}, {}

    def __check_input(self, in_):
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_, data):
        """An image (height, width, channels) in the form of the input in_: float32 (channels, height, width)."""
        self.__check_input(in_)
        result = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if result.shape[:2] != size:
            result = resize_image(result, size)
        if self.transpose.get(in_) is not None:
            result = result.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            result = result[self.channel_swap[in_], :, :]
        # Not in place: without a resize, `result` may still be the caller's array.
        if self.raw_scale.get(in_) is not None:
            result = result * np.float32(self.raw_scale[in_])
        if self.mean.get(in_) is not None:
            result = (result - self.mean[in_]).astype(np.float32, copy=False)
        if self.input_scale.get(in_) is not None:
            result = result * np.float32(self.input_scale[in_])
        return result

    def deprocess(self, in_, data):
        """The inverse of preprocess except for the resizing: an input (channels, height, width) as an image."""
        self.__check_input(in_)
        result = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            result = result / self.input_scale[in_]
        if self.mean.get(in_) is not None:
            result = result + self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            result = result / self.raw_scale[in_]
        if self.channel_swap.get(in_) is not None:
            result = result[np.argsort(self.channel_swap[in_]), :, :]
        if self.transpose.get(in_) is not None:
            result = result.transpose(np.argsort(self.transpose[in_]))
        return result

    def set_transpose(self, in_, order):
        """Set the order of the axes: (2, 0, 1) from (height, width, channels) to (channels, height, width)."""
        self.__check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_, order):
        """Set the order of the channels: (2, 1, 0) from RGB to BGR."""
        self.__check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_, scale):
        """Set the factor before the mean is subtracted: 255 for nets trained on values from 0 to 255."""
        self.__check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_, mean):
        """Set the mean to subtract: (channels,), or an image (channels, height, width), which is resized to the input.

        Raises ValueError for another shape.
        """
        self.__check_input(in_)
        shape = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if mean.shape[0] != shape[0]:
                raise ValueError("Mean channels incompatible with input.")
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            if mean.ndim == 2:
                mean = mean[np.newaxis]
            if mean.ndim != 3:
                raise ValueError("Mean shape invalid")
            if mean.shape != shape:
                low, high = mean.min(), mean.max()
                normal = (mean - low) / ((high - low) or 1)
                mean = resize_image(normal.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1) * (high - low) + low
        self.mean[in_] = mean

    def set_input_scale(self, in_, scale):
        """Set the factor after the mean is subtracted."""
        self.__check_input(in_)
        self.input_scale[in_] = scale


def load_image(filename, color=True):
    """An image file as float32 from 0 to 1: (height, width, 3) in RGB, or with color=False (height, width, 1) in grey.

    Raises OSError if it cannot be read.
    """
    image = cv2.imread(str(filename), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise OSError(f"{filename}: not a readable image")
    image = image.astype(np.float32) / np.iinfo(image.dtype).max
    if image.ndim == 3 and not color:
        image = image[:, :, :3] @ np.float32([0.0721, 0.7154, 0.2125])  # as scikit-image in pycaffe
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
        return np.tile(image, (1, 1, 3)) if color else image
    return np.ascontiguousarray(image[:, :, 2::-1])


def resize_image(im, new_dims, interp_order=1):
    """An image (height, width, channels) resized to new_dims (height, width), float32.

    interp_order: order of the spline interpolation, 1 for linear
    As pycaffe with scikit-image: pixels are areas, an image is smoothed by a Gaussian before it is made smaller, and
    the value outside the image is its minimum. Images with other than 1 or 3 channels are zoomed by scipy.ndimage,
    which aligns the centres of the corner pixels.
    """
    im = np.asarray(im)
    new_dims = tuple(int(size) for size in new_dims)
    low, high = im.min(), im.max()
    if im.shape[-1] not in (1, 3):
        scale = np.array(new_dims) / np.array(im.shape[:2])
        return ndimage.zoom(im, (*scale, 1), order=interp_order).astype(np.float32)
    if high <= low:
        return np.full((*new_dims, im.shape[-1]), low, dtype=np.float32)
    normal = ((im - low) / (high - low)).astype(np.float64)
    factors = np.array(im.shape[:2]) / np.array(new_dims)
    sigma = np.maximum(0, (factors - 1) / 2)
    if sigma.any():
        normal = ndimage.gaussian_filter(normal, (*sigma, 0), mode="constant")
    sides = [(np.arange(size) + 0.5) * factor - 0.5 for size, factor in zip(new_dims, factors)]
    grid = np.meshgrid(*sides, indexing="ij")
    channels = [
        ndimage.map_coordinates(normal[:, :, channel], grid, order=interp_order, mode="grid-constant")
        for channel in range(im.shape[2])
    ]
    return (np.stack(channels, axis=2).clip(0, 1) * (high - low) + low).astype(np.float32)


def oversample(images, crop_dims):
    """Ten crops of each image: the four corners, the centre, and their mirror images.

    images: iterable of N arrays (height, width, channels); crop_dims: (height, width) of the crops
    Returns (10 * N, height, width, channels) float32.
    """
    height, width = (int(size) for size in crop_dims)
    crops = []
    for image in images:
        top, left = image.shape[0] - height, image.shape[1] - width
        corners = [(y, x) for y in (0, top) for x in (0, left)]
        centre = (int(image.shape[0] / 2 - height / 2), int(image.shape[1] / 2 - width / 2))
        five = [image[y : y + height, x : x + width] for y, x in [*corners, centre]]
        crops += five + [crop[:, ::-1] for crop in five]
    return np.array(crops, dtype=np.float32)
