"""Charts of the report: well-formed, with values at the right positions."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tools.report import charts


def parsed(text):
    return ElementTree.fromstring(f"<div>{text}</div>")


@pytest.mark.parametrize("low, high", ((0, 1), (0.9, 1), (0, 30000), (-3, 7.5)))
def test_ticks_are_few_round_numbers_within_the_axis(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6 and min(found) >= low - 1e-9 and max(found) <= high + 1e-9
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_lines_leave_out_values_that_are_not_finite():
    text = charts.lines({"a & b": [(0, 1.0), (10, float("nan")), (20, 3.0)], "none": []}, low=0, title="losses <")
    lines = [line.get("points").split() for line in parsed(text).iter("polyline")]
    assert len(lines) == 1 and len(lines[0]) == 2
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0])
    assert x0 == charts.LEFT and x1 == charts.WIDTH - charts.RIGHT and y1 == charts.TOP < y0
    assert charts.lines({"none": []}) == ""


def test_small_multiples_share_a_scale_and_show_where_the_band_is_on():
    rows = [
        ("a & b", [[(0, 0.5), (100, 1.0)], [(0, 0.5), (100, 0.75)]], [(0, False), (50, True), (75, False)]),
        ("c", [[(0, 0.75)], []], []),
    ]
    tree = parsed(charts.multiples(rows, ["answer", "task one"], "title <", 0.5, 1, "stopped"))
    first, second = tree.iter("figure")
    assert ["".join(one.find("figcaption").itertext()) for one in (first, second)] == ["a & b1.000, 0.750", "c0.750"]
    upper, lower = ([tuple(map(float, p.split(","))) for p in x.get("points").split()] for x in first.iter("polyline"))
    assert upper[0] == lower[0] and upper[1][1] < lower[1][1]
    assert (upper[0][1] + upper[1][1]) / 2 == pytest.approx(lower[1][1], abs=0.1)
    (band,) = (rect for rect in first.iter("rect") if rect.get("height") == "8")  # from half to three quarters
    left, right = upper[0][0], upper[1][0]
    assert float(band.get("x")) == pytest.approx((left + right) / 2, abs=0.1)
    assert float(band.get("width")) == pytest.approx((right - left) / 4, abs=0.1)
    assert not [rect for rect in second.iter("rect") if rect.get("height") == "8"]


def test_dots_lie_in_their_intervals():
    rows = [("Male", [(0.95, 0.9, 1.0), None, (0.5, None, None)], 0.6)]
    tree = parsed(charts.dots(rows, ["a", "b", "c"], "accuracy", 0.0, 1.0, "majority"))
    drawing = next(one for one in tree.iter("svg") if one.get("role") == "img")
    assert drawing.get("aria-label") == "Male: a 0.950 (0.900 to 1.000), c 0.500"
    (interval,) = (line for line in drawing.iter("line") if line.get("class") == "line s0")
    (base,) = (line for line in drawing.iter("line") if line.get("class") == "base")
    dots = [one for one in drawing.iter("svg") if one.get("overflow")]
    low, dot, high = (float(x.rstrip("%")) for x in (interval.get("x1"), dots[0].get("x"), interval.get("x2")))
    assert (low, dot, high) == (90, 95, 100) and base.get("x1") == "60.00%"
    assert [next(iter(one)).tag for one in dots] == ["circle", "path"]  # each series has its own shape


def test_curves_have_steps_intervals_and_a_diagonal():
    series = charts.Series("cascade", [(0, 0.5), (0.5, 0.75), (1, 1)], 1, True, [(0.5, 0.7, 0.8)])
    unit = charts.Axis("x", 0, 1), charts.Axis("y", 0, 1)
    tree = parsed(charts.plot([series], *unit, "t <", [(0.5, "rate <")], diagonal=True))
    reference = [line for line in tree.iter("line") if line.get("class") == "reference"]
    assert len(reference) == 2 and len(list(tree.iter("rect"))) == 3  # square marks, their shape that of style 1
    (line,) = tree.iter("polyline")
    middle = line.get("points").split()[1].split(",")[0]
    assert reference[1].get("x1") == middle  # the step is where the curve has this x
    assert "rate <" in [text.text for text in tree.iter("text")]
    assert charts.plot([charts.Series("none", [])], *unit, "t") == ""
