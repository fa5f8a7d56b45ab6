"""The measurements: python -m benchmarks --help, then python -m benchmarks.NAME --help."""

import argparse
import pathlib
import re

PACKAGE = pathlib.Path(__file__).parent


def listing():
    """Each measuring script with the first paragraph of its docstring, as lines."""
    for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*/*.py")]):
        text = path.read_text()
        name = ".".join(["benchmarks", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__main__")
        if "add_argument" in text and name != "benchmarks":
            summary = re.match(r'"""(.+?)\.?(\n\n|""")', text, re.S)[1]
            yield f"  python -m {name:24s}{' '.join(summary.split())}"


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measurements of this project; each has its own --help.\n\n" + "\n".join(listing()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    parser.print_help()


if __name__ == "__main__":
    main()
