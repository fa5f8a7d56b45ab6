"""Images and arrays for nets: messages to arrays and back, loading, resizing, crops, and the Transformer."""

import cv2
import numpy as np
from scipy import ndimage

from .proto import caffe_pb2


def blobproto_to_array(blob, return_diff=False):
    """The data (or diff) of a BlobProto as array of its shape."""
    data = np.array(blob.diff if return_diff else blob.data)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return data.reshape(blob.num, blob.channels, blob.height, blob.width)
    return data.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr, diff=None):
    """A BlobProto of an array, with another as its diff."""
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
    """A Datum of an array (channels, height, width): bytes where it is uint8, floats otherwise."""
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
    """Brings images, as (height, width, channels) from 0 to 1 in R G B, into the form of a net's inputs.

    inputs: dict of input name -> shape of its blob. `preprocess` resizes, transposes, swaps channels, scales raw
    values, subtracts the mean and scales, each where it was set; `deprocess` undoes all but the resizing.
    """

    def __init__(self, inputs):
        self.inputs = inputs
        self.transpose, self.channel_swap, self.raw_scale = {}, {}, {}
        self.mean, self.input_scale = {}, {}

    def __check_input(self, in_):
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_, data):
        """An image as a net's input named in_ takes it: float32 (channels, height, width)."""
        self.__check_input(in_)
        result = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if result.shape[:2] != size:
            result = resize_image(result, size)
        if self.transpose.get(in_) is not None:
            result = result.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            result = result[self.channel_swap[in_], :, :]
        # Never in place: without a resize the array is still the caller's.
        if self.raw_scale.get(in_) is not None:
            result = result * np.float32(self.raw_scale[in_])
        if self.mean.get(in_) is not None:
            result = (result - self.mean[in_]).astype(np.float32, copy=False)
        if self.input_scale.get(in_) is not None:
            result = result * np.float32(self.input_scale[in_])
        return result

    def deprocess(self, in_, data):
        """The inverse of preprocess."""
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
        """Axes in the order of the blob, as (2, 0, 1) from images to maps."""
        self.__check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_, order):
        """Channels in the order of the net, as (2, 1, 0) for B G R."""
        self.__check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_, scale):
        """What raw values are multiplied by before the mean, as 255."""
        self.__check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_, mean):
        """The mean to subtract: one number per channel, or an image (channels, height, width)."""
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
        """What values are multiplied by after the mean."""
        self.__check_input(in_)
        self.input_scale[in_] = scale


def load_image(filename, color=True):
    """An image file as float32 (height, width, 3) from 0 to 1 in R G B, or (height, width, 1) with color=False."""
    flag = cv2.IMREAD_UNCHANGED if color else cv2.IMREAD_GRAYSCALE
    image = cv2.imread(str(filename), flag)
    if image is None:
        raise OSError(f"{filename}: not a readable image")
    image = image.astype(np.float32) / np.iinfo(image.dtype).max
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
        return np.tile(image, (1, 1, 3)) if color else image
    return np.ascontiguousarray(image[:, :, 2::-1])


def resize_image(im, new_dims, interp_order=1):
    """An image (height, width, channels) resized to new_dims (height, width), float32.

    interp_order: of the interpolation, 1 for linear. As pycaffe with scikit-image: pixels are areas, shrinking smoothes
    first, and beyond the border lies the image's least value; other than 1 or 3 channels are zoomed corner to corner.
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
    """Ten crops of each image: the four corners and the centre, and their mirror images.

    images: iterable of (height, width, channels); crop_dims: (height, width)
    Returns (10 * N, height, width, channels) float32.
    """
    high, wide = (int(size) for size in crop_dims)
    crops = []
    for image in images:
        top, left = image.shape[0] - high, image.shape[1] - wide
        corners = [(y, x) for y in (0, top) for x in (0, left)]
        centre = (int(image.shape[0] / 2 - high / 2), int(image.shape[1] / 2 - wide / 2))
        five = [image[y : y + high, x : x + wide] for y, x in [*corners, centre]]
        crops += five + [crop[:, ::-1] for crop in five]
    return np.array(crops, dtype=np.float32)
