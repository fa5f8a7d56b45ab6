"""Charts and tables of the report: well-formed, and where values belong."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tools.report import charts, page


def parsed(text):
    return ElementTree.fromstring(f"<div>{text}</div>")


@pytest.mark.parametrize("low, high", ((0, 1), (0.9, 1), (0, 30000), (-3, 7.5)))
def test_ticks_are_round_few_and_inside(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6 and min(found) >= low - 1e-9 and max(found) <= high + 1e-9
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_lines_leave_out_what_is_no_number():
    text = charts.lines({"a & b": [(0, 1.0), (10, float("nan")), (20, 3.0)], "none": []}, low=0, title="losses <")
    lines = [line.get("points").split() for line in parsed(text).iter("polyline")]
    assert len(lines) == 1 and len(lines[0]) == 2
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0])
    assert x0 == charts.LEFT and x1 == charts.WIDTH - charts.RIGHT and y1 == charts.TOP < y0
    assert charts.lines({"none": []}) == ""


def test_multiples_share_a_scale_and_show_where_the_band_is_on():
    rows = [
        ("a & b", [[(0, 0.5), (100, 1.0)], [(0, 0.5), (100, 0.75)]], [(0, False), (50, True), (75, False)]),
        ("c", [[(0, 0.75)], []], []),
    ]
    tree = parsed(charts.multiples(rows, ["answer", "task one"], "title <", 0.5, 1, "stopped"))
    first, second = tree.iter("figure")
    assert first.find("figcaption").text == "a & b 1.000, 0.750" and second.find("figcaption").text == "c 0.750"
    upper, lower = ([tuple(map(float, p.split(","))) for p in x.get("points").split()] for x in first.iter("polyline"))
    assert upper[0] == lower[0] and upper[1][1] < lower[1][1]
    assert (upper[0][1] + upper[1][1]) / 2 == pytest.approx(lower[1][1], abs=0.1)
    (band,) = (rect for rect in first.iter("rect") if rect.get("height") == "8")  # from half to three quarters
    left, right = upper[0][0], upper[1][0]
    assert float(band.get("x")) == pytest.approx((left + right) / 2, abs=0.1)
    assert float(band.get("width")) == pytest.approx((right - left) / 4, abs=0.1)
    assert not [rect for rect in second.iter("rect") if rect.get("height") == "8"]


def test_dots_stand_in_their_intervals():
    text = charts.dots([("Male", [(0.95, 0.9, 1.0), None, (0.5, None, None)])], ["a", "b", "c"], "accuracy", 0.0, 1.0)
    tree = parsed(text)
    (dot,) = tree.iter("circle")
    (interval,) = (
        line for line in tree.iter("line") if line.get("stroke") == charts.COLOURS[0] and line.get("y1") != "6"
    )
    assert float(interval.get("x1")) < float(dot.get("cx")) < float(interval.get("x2"))
    assert "path" in [child.tag for child in tree.iter()]  # the third has its own shape


def test_table_escapes_and_rounds():
    text = page.table([{"a<b": "x&y", "n": 0.12345, "none": None}])
    cells = [cell.text for cell in parsed(text).iter("td")]
    assert cells == ["x&y", "0.123", "-"]
