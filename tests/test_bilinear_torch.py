"""The layers' arithmetic is the same for torch tensors and NumPy arrays, and its gradients equal torch's."""

import numpy as np
import pytest
import torch

from python_layers import bilinear, regions


def test_torch_and_numpy_agree_and_autograd_confirms_the_gradients():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 3, 4, 13, 13))
    rois = np.sort(rng.uniform(-1, 14, (2, 3, 2, 2)), axis=-2).reshape(2, 3, 4)
    top_diff = rng.normal(size=(2, 3, 4, 5, 5))
    f, r = (torch.tensor(array, requires_grad=True) for array in (features, rois))
    results = []
    for xp, x, y, diff in ((np, features, rois, top_diff), (torch, f.detach(), r.detach(), torch.tensor(top_diff))):
        warped, wx, wy = bilinear.warp(x, y, 10, xp)
        pooled = bilinear.max_pool(warped, 2, xp)
        inner = bilinear.max_pool_gradient(warped, pooled, diff, 2, xp)
        to_features = bilinear.warp_gradient_features(inner, wx, wy, xp)
        results.append([pooled, to_features, bilinear.warp_gradient_rois(inner, x, y, xp)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-10)
    pooled = bilinear.max_pool(bilinear.warp(f, r, 10, torch)[0], 2, torch)
    (pooled * torch.tensor(top_diff)).sum().backward()
    np.testing.assert_allclose(results[0][1], f.grad.numpy(), atol=1e-10)
    np.testing.assert_allclose(results[0][2], r.grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("space", regions.SPACES)
@pytest.mark.parametrize("weight", (0, 0.5))
def test_regions_of_tensors_equal_those_of_arrays(space, weight):
    rng = np.random.default_rng(1)
    response, average = rng.uniform(size=(5, 3, 4, 4)), rng.uniform(0, 0.9, (3, 4, 4))
    rectangles = np.sort(rng.uniform(0, 13, (3, 4, 4, 4)), axis=-1)
    rectangles[0] = regions.theoretical_rectangles()
    arrays = response, average, rectangles
    ours = regions.regions(*arrays, 0.8, weight, space)
    theirs = regions.regions(*map(torch.tensor, arrays), 0.8, weight, space)
    assert isinstance(theirs, torch.Tensor) and len(np.unique(ours.reshape(-1, 4), axis=0)) > 3
    np.testing.assert_allclose(theirs.numpy(), ours)
