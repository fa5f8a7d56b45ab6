"""The rectangle that a response point gets in the average region, against all others."""

import itertools

import numpy as np

from tools.train import average_region


def test_dense_rectangle_by_hand_and_against_all_rectangles():
    mass = np.zeros((5, 6))
    mass[1:3, 2:5] = [[4, 1, 4], [4, 4, 4]]  # mean 0.7: the 1 in their midst costs less than leaving cells out
    assert average_region.dense_rectangle(mass, 2) == (2, 1, 5, 3)
    rng = np.random.default_rng(0)
    for density in (0.5, 1, 2):
        mass = rng.uniform(size=(6, 5)) ** 4
        x1, y1, x2, y2 = average_region.dense_rectangle(mass, density)
        excess = mass - density * mass.mean()
        found = excess[y1:y2, x1:x2].sum()
        rows, columns = itertools.combinations(range(7), 2), list(itertools.combinations(range(6), 2))
        assert found >= max(excess[a:b, c:d].sum() for a, b in rows for c, d in columns) - 1e-9
