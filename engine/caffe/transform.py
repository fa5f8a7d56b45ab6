"""Decoding of Datum messages, and the transformations of transform_param, as BVLC Caffe's DataTransformer."""

import numpy as np

from . import TRAIN, wire
from .errors import check, optional_package


def read_mean(path):
    """The mean image in a binary BlobProto file, as float32 (height, width, channels). Raises CaffeError."""
    array = wire.read_blob_file(path)
    check(array.ndim in (3, 4), f"{path}: a mean image has 3 axes, not the shape {array.shape}")
    return np.ascontiguousarray(array.reshape(array.shape[-3:]).transpose(1, 2, 0))


class Transformer:
    """The transformations of one data layer.

    `sample` and `window` choose crop and mirroring of an image, and `crop` applies them. `affine` gives mean values and
    scale, which the layer applies to a whole batch on the device.

    param: TransformationParameter; phase: TRAIN or TEST; where: the layer, for errors; seed: of crops and mirroring
    Raises CaffeError for wrong fields, or a mean_file that cannot be read.
    """

    def __init__(self, param, phase, where, seed):
        self.param, self.phase, self.where = param, phase, where
        check(
            not (param.HasField("mean_file") and param.mean_value),
            f"{where}: give mean_file or mean_value, not both",
        )
        check(not (param.force_color and param.force_gray), f"{where}: give force_color or force_gray, not both")
        self.mean = read_mean(param.mean_file) if param.HasField("mean_file") else None
        self.random = np.random.default_rng(seed)

    def decode(self, datum):
        """The image of a Datum as an array (height, width, channels), uint8 or float32. Raises CaffeError.

        An encoded image keeps its channels unless force_color (three, BGR) or force_gray (one) is set.
        """
        if datum.encoded:
            cv2 = optional_package("cv2", "encoded images need", "opencv-python-headless")
            colour, grey = self.param.force_color, self.param.force_gray
            flag = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_UNCHANGED
            data = np.frombuffer(datum.data, dtype=np.uint8)
            image = cv2.imdecode(data, flag) if data.size else None
            check(image is not None, "its image cannot be decoded")
            check(image.dtype == np.uint8, f"its image has {image.dtype} channels; 8 bits are supported")
            return image if image.ndim == 3 else image[:, :, None]
        shape = (datum.channels, datum.height, datum.width)
        if datum.data:
            array = np.frombuffer(datum.data, dtype=np.uint8)
        else:
            array = np.array(datum.float_data, dtype=np.float32)
        check(array.size == np.prod(shape), f"has shape {shape} but holds {array.size} numbers")
        return array.reshape(shape).transpose(1, 2, 0)

    def sample(self):
        """Random numbers for an image: relative position of the crop (down, across), 0 to 1, and whether to mirror."""
        down = across = 0.5
        if self.param.crop_size and self.phase == TRAIN:
            down, across = self.random.random(2)
        return down, across, self.param.mirror and bool(self.random.integers(2))

    def window(self, sample, shape):
        """The crop window (top, left, height, width, mirrored) in pixels of an image (height, width, channels).

        As in BVLC Caffe, random in TRAIN and central in TEST. Raises CaffeError for an image smaller than crop_size.
        """
        size, (down, across, mirrored) = self.param.crop_size, sample
        if not size:
            return 0, 0, shape[0], shape[1], mirrored
        check(
            min(shape[:2]) >= size, f"{self.where}: crop_size {size} is larger than an image of {shape[1]} x {shape[0]}"
        )
        if self.phase == TRAIN:
            return int(down * (shape[0] - size + 1)), int(across * (shape[1] - size + 1)), size, size, mirrored
        return (shape[0] - size) // 2, (shape[1] - size) // 2, size, size, mirrored

    def crop(self, image, window):
        """Crop an image to a window, subtract the mean image if there is one (the result is then float32), and mirror.

        Raises CaffeError if image and mean image differ in shape.
        """
        top, left, height, width, mirrored = window
        part = image[top : top + height, left : left + width]
        if self.mean is not None:
            check(
                self.mean.shape == image.shape,
                f"{self.where}: mean_file has shape {self.mean.shape}, an image {image.shape} (H, W, C)",
            )
            part = part.astype(np.float32) - self.mean[top : top + height, left : left + width]
        return part[:, ::-1] if mirrored else part

    def affine(self, channels):
        """(list of mean values per channel or None, scale): pixels become (pixel - mean) * scale. Raises CaffeError."""
        means = list(self.param.mean_value)
        check(
            len(means) in (0, 1, channels),
            f"{self.where}: give one mean_value or one per channel ({channels}), not {len(means)}",
        )
        if len(means) == 1:
            means *= channels
        return means or None, self.param.scale
