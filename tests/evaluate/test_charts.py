"""Charts of the report and of an ablation: well-formed, with values at the right positions."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tools.evaluate.results import estimate
from tools.report import charts

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    return ElementTree.fromstring(f"<div>{text}</div>")


@pytest.mark.parametrize("low, high", ((0, 1), (0.9, 1), (0, 30000), (-3, 7.5)))
def test_ticks_are_few_round_numbers_within_the_axis(low, high):
    found = charts.Axis("", low, high).ticks()
    assert 2 <= len(found) <= 6 and min(found) >= low - 1e-9 and max(found) <= high + 1e-9
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_lines_leave_out_values_that_are_no_numbers():
    series = {"a & b": [(0, 1.0), (10, float("nan")), (15, [1.0, 2.0]), (20, 3.0)], "none": []}
    lines = [line.get("points").split() for line in parsed(charts.lines(series, 0, title="losses <")).iter("polyline")]
    assert len(lines) == 1 and len(lines[0]) == 2
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0])
    assert x0 == charts.LEFT and x1 == charts.RIGHT and y1 == charts.TOP < y0 < charts.BOTTOM
    assert charts.lines({"none": [], "list": [(0, [1.0, 2.0])]}) == ""


def test_curves_have_steps_intervals_and_a_diagonal():
    series = charts.Series("cascade", [(0, 0.5), (0.5, 0.75), (1, 1)], 1, True, [(0.5, 0.7, 0.8)])
    unit = charts.Axis("x", 0, 1), charts.Axis("y", 0, 1)
    steps = [(0.5, "rate <"), (7, "outside")]
    tree = parsed(charts.plot([series], *unit, "t <", steps, diagonal=True))
    diagonal, step = (line for line in tree.iter("line") if line.get("class") == "reference")
    assert diagonal.get("x1") == str(charts.LEFT) and diagonal.get("y2") == str(charts.TOP)
    (line,) = tree.iter("polyline")
    middle, height = map(float, line.get("points").split()[1].split(","))
    assert float(step.get("x1")) == middle  # the step is where the curve has this x
    (error,) = (one for one in tree.iter("line") if one.get("class") == "line s1" and one.get("y1") != "6")
    assert float(error.get("y2")) < height < float(error.get("y1")) and float(error.get("x1")) == middle
    marks = [one.get("d") for one in tree.iter("path")]
    assert len(marks) == 3 and set(marks) == {"M-3.5-3.5h7v7h-7z"}  # squares, the shape of style 1
    words = [text.text for text in tree.iter("text")]
    assert "rate <" in words and "outside" not in words
    assert charts.plot([charts.Series("none", [])], *unit, "t") == ""


def test_dots_lie_in_their_intervals():
    rows = [("Male", [estimate(0.95, 0.9, 1.0), estimate(), estimate(0.5)], 0.6)]
    tree = parsed(charts.dots(rows, ["a", "b", "c"], "accuracy", 0.0, 1.0, "majority"))
    drawing = next(one for one in tree.iter("svg") if one.get("role") == "img")
    assert drawing.get("aria-label") == "Male: a 0.950 (0.900 to 1.000) c 0.500"
    (interval,) = (line for line in drawing.iter("line") if line.get("class") == "line s0")
    (base,) = (line for line in drawing.iter("line") if line.get("class") == "base")
    dots = [one for one in drawing.iter("svg") if one.get("overflow")]
    low, dot, high = (float(x.rstrip("%")) for x in (interval.get("x1"), dots[0].get("x"), interval.get("x2")))
    assert (low, dot, high) == (90, 95, 100) and base.get("x1") == "60.0%"
    shapes = [next(iter(one)).get("d") for one in dots]
    assert len(shapes) == 2 and shapes[0] != shapes[1]  # each series has its own


def test_the_chart_of_an_ablation_has_a_line_for_each_network(tmp_path):
    keys = "minus", "difference", "difference low", "difference high", "low seeds too", "high seeds too", "by seed"
    whole = dict(zip(keys, ("whole <map>", 0.01, -0.01, 0.03, -0.02, 0.04, "+0.0000 +0.0200")))
    alone = dict(zip(keys, ("alone", -0.02, -0.03, 0.0, None, None, "-0.0200")))
    (tmp_path / "a.svg").write_text(charts.differences("cascade minus ...", {"accuracy": [whole, alone]}))
    tree = ElementTree.parse(tmp_path / "a.svg")
    lines = {}
    for line in tree.iter(f"{SVG}line"):
        ends = [float(line.get(key)) for key in ("x1", "x2", "y1", "y2")]
        lines.setdefault(line.get("class"), []).append(ends)
    (zero,) = lines["zero"]
    circles = [float(one.get("cx")) for one in tree.iter(f"{SVG}circle")]
    assert circles[0] > zero[0] > circles[1] and len(lines["persons"]) == 2 and len(lines["both"]) == 1
    assert len(lines["seed"]) == 3
    # One scale: 0.01 to the right of zero is as far as half of 0.02 to the left.
    assert circles[0] - zero[0] == pytest.approx((zero[0] - circles[1]) / 2, abs=0.2)
    first, both = lines["persons"][0], lines["both"][0]
    assert both[0] < first[0] < circles[0] < first[1] < both[1]
    assert "whole <map>" in [text.text for text in tree.iter(f"{SVG}text")]
