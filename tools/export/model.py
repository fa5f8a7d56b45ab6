"""A trained network as one ONNX file that stands alone, from pictures of aligned faces to answers.

PyTorch traces it from a deploy net in plain PyTorch, `Answering`.
"""

import io
import json
import logging
import pathlib
import tempfile
import warnings

import onnx
import torch
from onnx import helper

from data_prep import geometry
from data_prep.geometry import FACE_SIZE, MARGIN, PATCH_SIZE
from python_layers import arrays, bilinear, regions
from tools import model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration

OUTPUTS = ("probability", "present")
OF_REGIONS = ("region", "response", "revised_response")  # further outputs of networks with regions
MANY = 1024  # values of a blob from which on it may be stored in half precision; the rest is no part of a file's size
# OpenCV computes linear weights in steps of 1 / STEPS, and drops the remainders of two divisions on the way.
STEPS, FIRST_DIVISOR, SECOND_DIVISOR = 2048, 16, 65536
OPSET = 17
INPUT = "uint8 (N, H, W, 3), R G B, any size: aligned faces; of {} x {} pixels the eyes are at {} and {}".format(
    geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT, *(tuple(map(int, eye)) for eye in geometry.ALIGNED_EYES)
)


def export(run, stage, precision="fp32", adjustable=()):
    """The ONNX model of a stage of a run, from picture to answers. Raises ToolError.

    precision: fp32, fp16 or int8, how the weights are stored; adjustable: parameters of RegionMapper that become
    inputs, scalars
    """
    weights, deploy = run.weights(stage), run.deploy(stage)
    net = networks.load(deploy, weights)
    score, scores, calibrated = calibration.of_answer(weights, net, run.attributes)
    model = traced(Answering(net, model_files.read(deploy), score, scores, adjustable, precision == "fp16"))
    model = integers(model) if precision == "int8" else model
    synthetic = run.data.synthetic or (calibrated and calibrated.synthetic)
    described = {
        "attributes": json.dumps(list(run.attributes)),
        "input": INPUT,
        "calibrated": "true" if calibrated else "false",
        "trained on": "rendered faces" if synthetic else "",
    }
    if calibrated:
        described["calibration"] = json.dumps(scores)
    helper.set_model_props(model, described)
    onnx.checker.check_model(model)
    return model


def traced(module):
    """The ONNX model of an Answering, for any number and size of pictures."""
    image = torch.zeros(1, geometry.ALIGNED_HEIGHT, geometry.ALIGNED_WIDTH, 3, dtype=torch.uint8)
    file, adjusted = io.BytesIO(), [torch.tensor(0.5)] * len(module.adjustable)
    with warnings.catch_warnings():
        # The newer exporter cannot leave the size of pictures open; of the older one PyTorch warns that it is older.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (image, *adjusted),
            file,
            dynamo=False,
            do_constant_folding=False,  # it would store weights in single precision
            opset_version=OPSET,
            input_names=["image", *module.adjustable],
            output_names=module.outputs,
            dynamic_axes={"image": {0: "N", 1: "H", 2: "W"}, **{name: {0: "N"} for name in module.outputs}},
        )
    return onnx.load_from_string(file.getvalue())


def metadata(model):
    """The metadata of an ONNX model: dict of texts."""
    return {entry.key: entry.value for entry in model.metadata_props}


def integers(model):
    """The model with convolutions in 8-bit integers, whose inputs are quantised as they come (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it advises steps that would fix the size of the pictures
        try:
            # ONNX Runtime's convolutions take weights without a sign only.
            quantize_dynamic(model, path, op_types_to_quantize=["Conv"], weight_type=QuantType.QUInt8)
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(path)


# The net in PyTorch ------------------------------------------------------------------------------------------


class Answering(torch.nn.Module):
    """The patch of a picture, the layers of a deploy net, and the calibration of its scores.

    net: the loaded net; description: its NetParameter; score: the blob that answers; scores: of calibration.of_answer;
    adjustable: names of parameters of RegionMapper that are inputs; halves: whether weights are stored in half
    precision. Attribute outputs: the names of what `forward` returns.
    """

    def __init__(self, net, description, score, scores, adjustable=(), halves=False):
        super().__init__()
        self.data, *self.layers = description.layer
        self.score, self.adjustable, self.engine = score, adjustable, net.layer_dict
        self.outputs = [*OUTPUTS, *(OF_REGIONS if "rois_image" in net.blobs else ())]
        for name, blobs in net.params.items():
            for number, blob in enumerate(blobs):
                values = torch.tensor(blob.data)
                is_half = halves and values.numel() >= MANY
                self.register_buffer(_buffer(name, number), values.half() if is_half else values)
        for name in ("threshold", "slope", "offset"):
            self.register_buffer(name, torch.tensor(getattr(scores, name), dtype=torch.float32))

    def forward(self, image, *adjusted):
        """The outputs for pictures, uint8 (N, H, W, 3) R G B, and the values of the adjustable parameters, scalars.

        Raises ToolError for a layer that is not translated here.
        """
        self.adjusted = dict(zip(self.adjustable, adjusted))
        pixels, size = patch(image)
        values = {self.data.top[0]: pixels}
        for layer in self.layers:
            kind = layer.python_param.layer or layer.type
            bottoms = [values[bottom] for bottom in layer.bottom]
            if hasattr(self, f"_{kind}"):
                tops = getattr(self, f"_{kind}")(layer, *bottoms)
            elif hasattr(self.engine[layer.name], "compute"):
                tops = self.engine[layer.name].compute(*bottoms)
            else:
                raise ToolError(f"layer {layer.name}: type {kind} has no translation to ONNX")
            values.update(zip(layer.top, tops if isinstance(tops, (list, tuple)) else [tops]))
        score = values[self.score]
        found = torch.sigmoid(self.slope * score + self.offset), score > self.threshold
        if "rois_image" not in values:
            return found
        return *found, (values["rois_image"] + MARGIN) / FACE_SIZE * size, values["response"], self.revised

    def _weights(self, layer):
        blobs = [getattr(self, _buffer(layer.name, number)) for number in range(2)]
        return [blob.float() if blob.dtype == torch.float16 else blob for blob in blobs]

    def _Convolution(self, layer, bottom):
        p = layer.convolution_param
        stride, pad = (list(p.stride) or [1])[0], (list(p.pad) or [0])[0]
        return torch.nn.functional.conv2d(bottom, *self._weights(layer), stride, pad, 1, p.group)

    def _ReLU(self, layer, bottom):
        return torch.relu(bottom)

    def _Pooling(self, layer, bottom):
        p = layer.pooling_param
        if p.pool != p.MAX or p.pad:
            raise ToolError(f"layer {layer.name}: only MAX pooling without padding has a translation to ONNX")
        if p.global_pooling:
            return bottom.amax((2, 3), keepdim=True)
        return torch.nn.functional.max_pool2d(bottom, p.kernel_size, p.stride, ceil_mode=True)

    def _Reshape(self, layer, bottom):
        sizes = layer.reshape_param.shape.dim
        return bottom.reshape([size or bottom.shape[axis] for axis, size in enumerate(sizes)])

    def _Slice(self, layer, bottom):
        return torch.chunk(bottom, len(layer.top), layer.slice_param.axis)

    def _Concat(self, layer, *bottoms):
        return torch.cat(bottoms, layer.concat_param.axis)

    def _RegionMapper(self, layer, response):
        parameters = vars(self.engine[layer.name].parameters) | self.adjusted
        threshold, weight = parameters["threshold"], parameters["average_weight"]
        average, rectangles = self._weights(layer)
        self.revised = regions.revise(response, average, weight)
        return [regions.regions(response, average, rectangles, threshold, weight, space) for space in regions.SPACES]

    def _RoIWarp(self, layer, features, rois=None):
        parameters = self.engine[layer.name].parameters
        images, channels, height, width = features.shape
        if rois is None:
            rois = torch.tensor([[[0.0, 0.0, width, height]]])
        groups = rois.shape[1]
        grouped = features.reshape(images, groups, channels // groups, height, width)
        warped, _, _ = bilinear.warp(grouped, rois, parameters.warp)
        side = parameters.warp // parameters.pool
        return bilinear.max_pool(warped, parameters.pool).reshape(images, channels, side, side)


def _buffer(layer, number):
    return f"{layer}_{number}".replace("-", "_")


# From a picture to the patch --------------------------------------------------------------------------------


def patch(image):
    """The patches of pictures, float (N, 3, 224, 224) B G R, and the pictures' size (4,): width, height, twice.

    image: uint8 (N, H, W, 3) R G B. What data_prep.geometry does by OpenCV: a picture is brought to 256 x 256 pixels by
    two matrix products, one for its columns and one for its rows, of which only the 224 x 224 pixels of the centre
    patch are computed. OpenCV's rules (resize.cpp of OpenCV 4) are repeated with their rounding, since the networks
    learned from its numbers.
    """
    pixels = image.permute(0, 3, 1, 2).float().flip(1)
    y, x = arrays.places(pixels[0, 0, :, 0]), arrays.places(pixels[0, 0, 0, :])
    height, width = y[-1] + 1, x[-1] + 1
    # INTER_AREA is asked for where the height shrinks; OpenCV averages only where the width does not grow.
    tall = height > FACE_SIZE
    averaged = tall & (width >= FACE_SIZE)
    columns, _ = _shares(x, width, tall, averaged)
    rows, upper = _shares(y, height, tall, averaged)

    across = pixels @ columns.T
    across = torch.where(averaged, across, torch.floor(across * (STEPS / FIRST_DIVISOR)))
    # Each of a row's two products is cut to quarters of a level.
    parts = [part @ across for part in (upper, rows - upper)]
    quarters = [torch.floor(part * (STEPS / SECOND_DIVISOR)) for part in parts]
    linear = torch.floor((quarters[0] + quarters[1] + 2) * 0.25)
    # Halves are rounded to even, but of a picture twice as large to the next higher level: 0.1 decides for halves only.
    double = (width == 2 * FACE_SIZE) & (height == 2 * FACE_SIZE)
    average = torch.round(parts[0] + parts[1] + double.float() * 0.1)
    return torch.where(averaged, average, linear), torch.stack([width, height, width, height])


def _shares(cells, length, tall, averaged):
    """What each of the patch's rows takes of each of a picture's, (224, length), and of these only the upper one.

    cells: the numbers of the picture's rows (or columns), (length,); tall, averaged: see `patch`; scalars all
    """
    step = length / FACE_SIZE
    last = length - 1
    number = torch.arange(MARGIN, MARGIN + PATCH_SIZE, dtype=torch.float32).reshape(-1, 1)
    low, high = number * step, (number + 1) * step

    # A picture that grows: the two pixels round the middle of the new one.
    middle = (number + 0.5) * step - 0.5
    # INTER_AREA where only the height shrinks: the two pixels from the new one's beginning on.
    first = torch.floor(low)
    beyond = ((high - (first + 1)) / step).clip(min=0)
    beyond = beyond - torch.floor(beyond)
    start, beyond = torch.where(tall, first, 0.0), torch.where(tall, beyond, middle)
    place = torch.minimum((start + torch.round(beyond * STEPS) / STEPS).clip(min=0), last)
    near = (1 - (place - cells).abs()).clip(min=0)
    # INTER_AREA: the share of each pixel in the new one.
    share = (torch.minimum(high, cells + 1) - torch.maximum(low, cells)).clip(min=0) / step

    weights = torch.where(averaged, share, near)
    is_upper = cells <= torch.where(averaged, last, place)
    return weights, torch.where(is_upper, weights, 0.0)
