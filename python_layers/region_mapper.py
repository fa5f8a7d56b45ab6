"""From response maps to regions: Caffe Python layer `RegionMapper` (section 3.2 of the paper)."""

import sys

import caffe

from models import table1
from python_layers import regions
from python_layers.parameters import check_count, logs_errors, read_parameters


class RegionMapper(caffe.Layer):
    """The rectangle that bounds the rectangles of all response points above a threshold.

    bottom[0]  responses r in [0, 1], (b, A, 4, 4)
    top[0]     regions, (b, A, 4): x1 y1 x2 y2 in conv3 cells, half-open, inside the 13 x 13 map
    top[1]     optional: the same in pixels of the 224 x 224 image, for drawing
    blobs[0]   average response, (A, 4, 4); until one is written, the threshold everywhere, which does not change the
               set of points above the threshold; training on it says so
    blobs[1]   rectangle of each response point, (A, 4, 4, 4) in conv3 cells; the theoretical receptive
               field unless measured ones have been written

    param_str, JSON, see regions.Parameters and models.options.NetworkOptions:
      threshold       responses above it belong to the region
      average_weight  w in r' = (1 - w) r + w average; 0 switches the revision off
      gradient        "none": zero, the gradient of thresholding; "soft": the gradient of the response-weighted mean of
                      the points' rectangles

    Give both blobs `param { lr_mult: 0 decay_mult: 0 }`. Raises ValueError for wrong parameters or shapes.
    """

    supports_tensors = True

    @logs_errors
    def setup(self, bottom, top):
        check_count(self, "bottom", bottom, (1,), "responses")
        check_count(self, "top", top, (1, 2), "regions, regions in the image")
        self.parameters = read_parameters(self, regions.Parameters)
        self.check_shape(bottom)
        attributes, size = bottom[0].shape[1], table1.RESPONSE_SIZE
        self.blobs.add_blob(attributes, size, size)
        self.blobs.add_blob(attributes, size, size, 4)
        self.blobs[0].data[...] = self.parameters.threshold
        self.blobs[1].data[...] = regions.theoretical_rectangles()
        self.looks = self.phase == caffe.TRAIN and self.parameters.average_weight > 0

    def check_shape(self, bottom):
        shape, size = tuple(bottom[0].shape), table1.RESPONSE_SIZE
        if len(shape) != 4 or shape[2:] != (size, size):
            raise ValueError(f"RegionMapper: responses must be (b, A, {size}, {size}), not {shape}")

    @logs_errors
    def reshape(self, bottom, top):
        self.check_shape(bottom)
        for index in range(len(top)):
            top[index].reshape(bottom[0].shape[0], bottom[0].shape[1], 4)

    def forward(self, bottom, top):
        threshold, weight = self.parameters.threshold, self.parameters.average_weight
        if self.looks and (self.blobs[0].data == threshold).all():
            words = "no average region in these weights, so regions are not revised by it; to measure it: make average"
            print(f"note: RegionMapper: {words}", file=sys.stderr, flush=True)
        self.looks = False  # once is enough
        for index, space in zip(range(len(top)), regions.SPACES):
            blobs = self.blobs[0].data, self.blobs[1].data
            top[index].data[...] = regions.regions(bottom[0].data, *blobs, threshold, weight, space)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        if self.parameters.gradient == "none":
            bottom[0].diff[...] = 0
            return
        weight = self.parameters.average_weight
        revised = regions.revise(bottom[0].data, self.blobs[0].data, weight)
        bottom[0].diff[...] = (1 - weight) * regions.soft_gradient(revised, self.blobs[1].data, top[0].diff)
