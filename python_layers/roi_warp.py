"""Bilinear RoI warp with max pooling: Caffe Python layer `RoIWarp` (section 3.3, eq. 3 of the paper)."""

import dataclasses

import caffe

from data_prep.settings import setting
from python_layers import arrays, bilinear
from python_layers.parameters import check_count, logs_errors, read_parameters


@dataclasses.dataclass
class Parameters:
    """The parameters of RoIWarp: samples along each side of the region, and side of the windows of max pooling."""

    warp: int = setting(10, least=1)
    pool: int = setting(2, least=1)


class RoIWarp(caffe.Layer):
    """Bilinear warp of a region of every attribute's features to a fixed size, then max pooling (eq. 3).

    bottom[0]  features, (b, A * C, H, W)
    bottom[1]  regions, (b, A, 4): x1 y1 x2 y2 in feature cells, cell c covers [c, c + 1); without it, the whole map
    top[0]     (b, A * C, warp / pool, warp / pool)

    param_str, JSON: see Parameters.

    All regions give finite numbers, even empty or reversed ones, or those outside the map or not finite. The gradient
    with respect to features and regions is exact (at a tie it goes to the first of the largest cells). Raises
    ValueError for wrong parameters or shapes.
    """

    supports_tensors = True

    @logs_errors
    def setup(self, bottom, top):
        check_count(self, "bottom", bottom, (1, 2), "features, regions")
        check_count(self, "top", top, (1,), "warped features")
        self.parameters = read_parameters(self, Parameters)
        warp_size, pool = self.parameters.warp, self.parameters.pool
        if warp_size % pool:
            raise ValueError(f"RoIWarp: pool must be a whole number that divides warp = {warp_size}, not {pool}")

    @logs_errors
    def reshape(self, bottom, top):
        shape = tuple(bottom[0].shape)
        if len(shape) != 4:
            raise ValueError(f"RoIWarp: features must be (b, A * C, H, W), not {shape}")
        self.groups = 1
        if len(bottom) == 2:
            rois = tuple(bottom[1].shape)
            if len(rois) != 3 or rois[0] != shape[0] or rois[2] != 4 or shape[1] % rois[1]:
                raise ValueError(
                    f"RoIWarp: regions must be (b, A, 4) with A a divisor of the channels of {shape}, not {rois}"
                )
            self.groups = rois[1]
        size = self.parameters.warp // self.parameters.pool
        top[0].reshape(shape[0], shape[1], size, size)

    def inputs(self, bottom):
        """Features (b, A, C, H, W) and regions (b, A, 4)."""
        images, channels, height, width = bottom[0].shape
        features = bottom[0].data.reshape(images, self.groups, channels // self.groups, height, width)
        if len(bottom) == 2:
            return features, bottom[1].data
        whole = arrays.like([0, 0, width, height], features)
        return features, arrays.library(features).broadcast_to(whole, (images, 1, 4))

    def forward(self, bottom, top):
        features, rois = self.inputs(bottom)
        self.warped, self.wx, self.wy = bilinear.warp(features, rois, self.parameters.warp)
        self.pooled = bilinear.max_pool(self.warped, self.parameters.pool)
        top[0].data[...] = self.pooled.reshape(top[0].data.shape)

    def backward(self, top, propagate_down, bottom):
        if not any(propagate_down):
            return
        features, rois = self.inputs(bottom)
        top_diff = top[0].diff.reshape(self.pooled.shape)
        warped_diff = bilinear.max_pool_gradient(self.warped, self.pooled, top_diff, self.parameters.pool)
        if propagate_down[0]:
            diff = bilinear.warp_gradient_features(warped_diff, self.wx, self.wy)
            bottom[0].diff[...] = diff.reshape(bottom[0].diff.shape)
        if len(bottom) == 2 and propagate_down[1]:
            bottom[1].diff[...] = bilinear.warp_gradient_rois(warped_diff, features, rois)
