"""Bilinear warp of regions and max pooling, with their gradients: the arithmetic of RoIWarp (eq. 3 of the paper).

The functions take NumPy arrays or PyTorch tensors. There are no loops over images, attributes or channels.
"""

from python_layers import arrays


def counted(number, like):
    """0, 1, ... number - 1, of the type (and device) of the array `like`."""
    return arrays.places(like.reshape(-1)[:1].repeat(number))


def sample_positions(low, high, samples, cells):
    """Positions of the samples of intervals, and the share of the interval that lies before each.

    low, high: (...,) ends of the intervals in cells; samples: their number; cells: size of the map
    Returns x (..., samples) = low + share * (high - low) - 0.5, clamped to [0, cells - 1], and share (samples,) =
    (k + 0.5) / samples. Ends that are not finite count as 0.
    """
    xp = arrays.library(low)
    low, high = (xp.nan_to_num(end, nan=0.0, posinf=0.0, neginf=0.0) for end in (low, high))
    share = (counted(samples, low) + 0.5) / samples
    x = low[..., None] + share * (high - low)[..., None] - 0.5
    return x.clip(0, cells - 1), share


def distances(x, cells):
    """Signed distances x - c of positions (...) to the cells c = 0 ... cells - 1: (..., cells)."""
    return x[..., None] - counted(cells, x)


def bilinear_weights(x, cells):
    """Weights max(0, 1 - |x - c|) of the cells for positions (...): (..., cells)."""
    return (1 - abs(distances(x, cells))).clip(0, 1)


def weight_slopes(x, cells):
    """Derivatives of bilinear_weights with respect to the positions: (..., cells); 0 at a cell, and where clamped."""
    d = distances(x, cells)
    return -arrays.library(d).sign(d) * (abs(d) < 1)


def warp_matrices(wy, wx):
    """Weights of all cells for all samples: wy (..., H', H), wx (..., W', W) -> (..., H W, H' W').

    features (C, H W) @ matrix = wy F wx^T of every channel, in one product.
    """
    rows, height = wy.shape[-2:]
    columns, width = wx.shape[-2:]
    product = wy.swapaxes(-1, -2)[..., :, None, :, None] * wx.swapaxes(-1, -2)[..., None, :, None, :]
    return product.reshape(*product.shape[:-4], height * width, rows * columns)


def warp(features, rois, samples):
    """Bilinear warp of one region per group of channels.

    features: (b, A, C, H, W); rois: (b, A, 4) as x1 y1 x2 y2 in cells; samples: W' = H'
    Returns warped (b, A, C, H', W') and the (x, y) weights (b, A, W', W) and (b, A, H', H).
    """
    height, width = features.shape[-2:]
    x, _ = sample_positions(rois[..., 0], rois[..., 2], samples, width)
    y, _ = sample_positions(rois[..., 1], rois[..., 3], samples, height)
    wx, wy = bilinear_weights(x, width), bilinear_weights(y, height)
    flat = features.reshape(*features.shape[:3], height * width)
    warped = flat @ warp_matrices(wy, wx)
    return warped.reshape(*features.shape[:3], samples, samples), wx, wy


def warp_gradient_features(warped_diff, wx, wy):
    """Gradient with respect to the features, (b, A, C, H, W): the transposed product."""
    flat = warped_diff.reshape(*warped_diff.shape[:3], -1)
    diff = flat @ warp_matrices(wy, wx).swapaxes(-1, -2)
    return diff.reshape(*warped_diff.shape[:3], wy.shape[-1], wx.shape[-1])


def warp_gradient_rois(warped_diff, features, rois):
    """Gradient with respect to the rois, (b, A, 4), through the derivatives of the weights; clamped samples add 0."""
    xp, samples = arrays.library(features), warped_diff.shape[-1]
    height, width = features.shape[-2:]
    flat = features.reshape(*features.shape[:3], -1)
    diff = warped_diff.reshape(*warped_diff.shape[:3], -1)
    matrix = flat.swapaxes(-1, -2) @ diff
    matrix = matrix.reshape(*rois.shape[:2], height, width, samples, samples)
    x, share = sample_positions(rois[..., 0], rois[..., 2], samples, width)
    y, _ = sample_positions(rois[..., 1], rois[..., 3], samples, height)
    wx, wy = bilinear_weights(x, width), bilinear_weights(y, height)
    dx = xp.einsum("bahwij,baih,bajw->baj", matrix, wy, weight_slopes(x, width))
    dy = xp.einsum("bahwij,baih,bajw->bai", matrix, weight_slopes(y, height), wx)
    return xp.stack([(d * part).sum(-1) for part in (1 - share, share) for d in (dx, dy)], -1)


def pool_cells(blob, pool):
    """The pool * pool views (..., H / pool, W / pool) of a map (..., H, W) that max pooling compares."""
    return [blob[..., i::pool, j::pool] for i in range(pool) for j in range(pool)]


def max_pool(blob, pool):
    """Max pooling without overlap over the last two axes."""
    views = pool_cells(blob, pool)
    largest = views[0]
    for view in views[1:]:
        largest = arrays.library(blob).maximum(largest, view)
    return largest


def max_pool_gradient(blob, pooled, top_diff, pool):
    """Gradient of max_pool; at a tie it goes to the first of the largest cells."""
    diff = arrays.library(blob).zeros_like(blob)
    free = top_diff == top_diff
    for view, target in zip(pool_cells(blob, pool), pool_cells(diff, pool)):
        takes = (view == pooled) & free
        target[...] = top_diff * takes
        free = free & ~takes
    return diff
