"""Evidence and the rectangles of response points: expected sums, and the scan against all rectangles."""

import itertools

import numpy as np
import pytest

from models import table1
from python_layers import regions
from tools.train import rectangles


def likelihood(inside, cells):
    """Kulldorff's log likelihood ratio of a share of the mass on a share of the cells, as printed."""
    if inside <= cells:
        return 0.0
    rest = 0.0 if inside == 1 else (1 - inside) * np.log((1 - inside) / (1 - cells))
    return inside * np.log(inside / cells) + rest


def test_scan_finds_the_block_whatever_its_size():
    for block in ((1, 2, 4, 3), (0, 0, 5, 2), (2, 1, 3, 4)):
        x1, y1, x2, y2 = block
        mass = np.full((5, 6), 0.1)
        mass[y1:y2, x1:x2] = 1
        assert rectangles.scan_rectangle(mass) == block
        mass[y1, x1] = 0.6  # a weak corner costs less than leaving its row or column out
        assert rectangles.scan_rectangle(mass) == block


def test_scan_is_the_best_of_all_rectangles():
    rng = np.random.default_rng(0)
    for power in (1, 4, 10):
        mass = rng.uniform(size=(6, 5)) ** power
        x1, y1, x2, y2 = rectangles.scan_rectangle(mass)
        share = mass / mass.sum()
        rows, columns = itertools.combinations(range(7), 2), list(itertools.combinations(range(6), 2))
        best = max(
            likelihood(share[a:b, c:d].sum(), (b - a) * (d - c) / 30)
            for (a, b), (c, d) in itertools.product(rows, columns)
            if (b - a) * (d - c) < 30
        )
        assert likelihood(share[y1:y2, x1:x2].sum(), (y2 - y1) * (x2 - x1) / 30) == pytest.approx(best, abs=1e-7)


def test_scan_of_a_flat_map_is_the_whole_map():
    assert rectangles.scan_rectangle(np.ones((4, 6))) == (0, 0, 6, 4)


def test_evidence_is_the_mean_gradient_times_the_difference_of_the_classes():
    """Compared with the definition, on all faces and their mirror images at once."""
    rng = np.random.default_rng(1)
    faces, attributes, channels, size = 12, 2, 3, 4
    activation = rng.normal(size=(faces, attributes, channels, size, size))
    gradient = rng.normal(size=activation.shape)
    positive = rng.random((faces, attributes)) < 0.6
    fired = (rng.random((faces, attributes, 16)) < 0.2) & positive[..., np.newaxis]
    fired[..., 5] = False
    evidence = rectangles.Evidence(attributes, channels, size)
    for part in (slice(0, 4), slice(4, 12)):
        evidence.add_faces(activation[part], positive[part])
        evidence.add_gradients(gradient[part], fired[part])
    maps = evidence.maps()
    assert maps.shape == (2, 17, 4, 4)
    np.testing.assert_array_equal(evidence.faces, [(~positive).sum(axis=0), positive.sum(axis=0)])
    mirrored = np.concatenate([activation, activation[..., ::-1]])
    for attribute in range(attributes):
        of_class = np.tile(positive[:, attribute], 2)
        seen = mirrored[:, attribute]
        difference = seen[of_class].mean(axis=0) - seen[~of_class].mean(axis=0)
        for row in range(17):
            chosen = fired[:, attribute].any(axis=-1) if row == 16 else fired[:, attribute, row]
            assert evidence.firings[attribute, row] == chosen.sum()
            if not chosen.any():
                assert not maps[attribute, row].any()
                continue
            gained = (gradient[chosen, attribute].mean(axis=0) * difference).sum(axis=0)
            expected = np.maximum(gained + gained[:, ::-1], 0)
            np.testing.assert_allclose(maps[attribute, row], expected / expected.sum(), atol=1e-5)
    assert not maps[:, 5].any()


def test_cells_of_27_lie_in_the_image_where_those_of_conv3_do():
    # pool1 cell c is centred at pixel 8 c + 9: it stands for [8 c + 5, 8 c + 13),
    # conv3 cell c for [16 c + 9, 16 c + 25).
    found = rectangles.to_conv3((4, 10, 20, 12))
    np.testing.assert_allclose(found, [1.75, 4.75, 9.75, 5.75])
    np.testing.assert_allclose(regions.cells_to_image(found), [37, 85, 165, 101])
    np.testing.assert_array_equal(rectangles.to_conv3((0, 0, 27, 27)), [0, 0, 13, 13])


def test_a_point_has_the_rectangle_of_its_own_evidence_or_of_its_attribute():
    size = table1.SHARED[1].output
    maps, firings = np.zeros((2, 17, size, size)), np.zeros((2, 17), int)
    maps[0, 16, 4:8, 10:20] = 1
    maps[0, 3, 4:8, 10:14] = 9  # fires for many faces
    maps[0, 7, 20:22, 2:4] = 9  # for too few
    firings[0, [3, 7, 16]] = 30, 4, 31
    maps[1, 16, 4:8, 10:20] = 1
    firings[1, 16] = 4  # the attribute itself has too few faces
    found = rectangles.measured(maps, firings, 5)
    usual = rectangles.to_conv3((10, 4, 20, 8))
    np.testing.assert_allclose(found[0, 0, 3], rectangles.to_conv3((10, 4, 14, 8)), atol=1e-6)
    for point in (0, 7, 15):
        np.testing.assert_allclose(found[0].reshape(16, 4)[point], usual, atol=1e-6)
    np.testing.assert_array_equal(found[1], regions.theoretical_rectangles())
