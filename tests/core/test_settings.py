"""Settings: one declaration checks values, reads and writes JSON, and makes options; damage is reported in one line."""

import argparse
import dataclasses
import json
import typing

import pytest
from mutations import changed

from data_prep.settings import add_options, check, from_json, given, setting, to_json


@dataclasses.dataclass
class Part:
    share: float = setting(0.5, "A share", least=0, most=1)
    names: list[str] = setting(factory=list, fault=lambda names: "must not hold x" if "x" in names else None)


@dataclasses.dataclass
class Whole:
    count: int = setting(4, "How many", least=2, even=True)
    kind: str = setting("log", "The kind", choices=("log", "linear"))
    on: bool = setting(False, "Whether it is on")
    part: Part = setting(factory=Part)
    parts: dict[str, Part] = setting(factory=dict)
    eyes: typing.Optional[tuple[tuple[float, ...], ...]] = None
    above: float = setting(1.0, above=0)


WHOLE = Whole(6, "linear", True, Part(0.25, ["a"]), {"b": Part()}, ((1.0, 2.0), (3.0, 4.0)), 0.1)


def test_what_is_written_is_read_unchanged():
    value = json.loads(json.dumps(to_json(WHOLE)))
    assert value["above"] == 0.1 and value["eyes"] == [[1, 2], [3, 4]]
    assert from_json(Whole, value, "file") == WHOLE
    assert from_json(Whole, {"part": {}}, "file", complete=False) == Whole()


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["count"], 3, "file: damaged, key 'count' must be an even number of at least 2, not 3"),
        (["kind"], "liner", "must be log or linear, not 'liner'; did you mean linear?"),
        (["on"], 1, "must be true or false, not 1"),
        (["part", "share"], 1.5, "file: part: damaged, key 'share' must be a number from 0 to 1, not 1.5"),
        (["part", "share"], float("nan"), "not nan"),
        (["part", "share"], 10**400, "must be a number"),
        (["part", "names"], ["x"], "key 'names' must not hold x"),
        (["part", "names"], "a", "must be a list, not 'a'"),
        (["parts"], [1], "must be an object"),
        (["parts", "b", "share"], "0.5", "file: parts: b: damaged, key 'share'"),
        (["eyes", 0], 7, "key 'eyes' must be a list, not 7"),
        (["above"], 0, "must be a number above 0"),
        (["colour"], "red", "file: damaged or of another version of face-cascade, unknown key 'colour'"),
        (["count"], ..., "file: damaged, key 'count' is missing"),
    ],
)
def test_damage_is_reported_with_file_and_key(path, value, words):
    whole = changed(to_json(WHOLE), path, value)
    with pytest.raises(ValueError) as error:
        from_json(Whole, whole, "file")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_value_set_by_the_program_is_checked_too():
    with pytest.raises(ValueError, match="count: must be an even"):
        check(dataclasses.replace(WHOLE, count=5))


def test_options_are_those_that_were_given_and_impossible_ones_are_reported():
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, Whole)
    add_options(parser, Part)
    arguments = parser.parse_args(["--count", "8", "--on", "--share", "1/4"])
    assert given(arguments, Whole) == {"count": 8, "on": True}
    assert given(arguments, Part) == {"share": 0.25}
    assert given(parser.parse_args([]), Whole) == {}
    assert "How many (default: 4)." in parser.format_help() and "{log,linear}" in parser.format_help()
    for option, value, message in (
        ("--count", "four", "must be an even number of at least 2, not 'four'"),
        ("--kind", "lgo", "must be log or linear, not 'lgo'; did you mean log?"),
        ("--share", "1/0", "must be a number from 0 to 1, not '1/0'"),
    ):
        with pytest.raises(argparse.ArgumentError) as error:
            parser.parse_args([option, value])
        assert message in str(error.value)
