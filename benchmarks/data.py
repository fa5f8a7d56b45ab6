"""Measure data preparation: the builder against Caffe's own, and its memory. Reading: benchmarks.growth.

    python -m benchmarks.data builder IMAGES_FOLDER      # images/s against convert_imageset
    python -m benchmarks.data memory SCRATCH             # peak memory, 2,000 and 50,000 images

Both print their measurements and the load of the machine.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio, run_script
from data_prep import start
from data_prep.settings import setting
from data_prep.synthetic import synthetic_faces

BUILD = start.command(sys.executable, "tools.cli", "data")
CONVERTER = pathlib.Path(start.REPOSITORY, ".caffe/bin/convert_imageset")


@dataclasses.dataclass
class Settings:
    """What is measured."""

    what: str = setting(help="The measurement to run, see above", choices=("builder", "memory"))
    folder: str = setting(help="The folder that it needs, see above")
    rounds: int = setting(5, "Rounds of builder", least=1)


def data_set(folder, images, rows):
    """Write a data set in CelebA's layout. images: name -> file, linked; rows: lines of attributes and labels."""
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, path in images.items():
        os.link(path, folder / "img_align_celeba" / name)
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(images)), *rows]) + "\n")
    count = len(images)
    parts = [int(number >= 0.8 * count) + int(number >= 0.9 * count) for number in range(count)]
    lines = (f"{name} {part}\n" for name, part in zip(images, parts))
    (folder / "list_eval_partition.txt").write_text("".join(lines))


def builder(images, rounds):
    """The same faces resized to 224 and encoded as JPEG by convert_imageset, and a whole build, interleaved."""
    with tempfile.TemporaryDirectory(dir=images.parent) as scratch:
        scratch = pathlib.Path(scratch)
        faces = {path.name: path for path in sorted(images.iterdir())}
        (scratch / "list.txt").write_text("".join(f"{name} 0\n" for name in faces))
        # One attribute, half of the faces with it: each face is once in the training stream, or in val or test.
        rows = ["Smiling", *(f"{name} {1 if number % 2 else -1}" for number, name in enumerate(faces))]
        data_set(scratch / "source", faces, rows)
        theirs = [CONVERTER, "-resize_width", 224, "-resize_height", 224, "-encoded", "-encode_type", "jpg"]
        ours = [*BUILD, scratch / "source", "--attributes", "Smiling", "--form", "stream", "--records", 0]
        contestants = {
            "convert_imageset": ([*theirs, f"{images}/", scratch / "list.txt", scratch / "theirs"], scratch / "theirs"),
            "face-cascade data": ([*ours, "--keep-duplicates", "--out", scratch / "ours"], scratch / "ours"),
        }

        def build(contestant):
            command, out = contestant
            shutil.rmtree(out, ignore_errors=True)
            return command_seconds(command, stderr=subprocess.DEVNULL)

        def show(number, found):
            rates = (f"{n} {len(faces) / wall:,.0f} images/s ({cpu:.2f} s of CPU)" for n, (wall, cpu) in found.items())
            print(f"round {number}: {', '.join(rates)}; {load()}", flush=True)

        results = interleaved(contestants, rounds, build, warm_up=False, after_round=show)
        walls = [[wall for wall, _ in results[name]] for name in contestants]
        print(f"median {ratio(*walls):.2f} times as fast, whole commands with their start")


def memory(scratch, sizes=(2000, 50000)):
    """Peak memory of whole builds of few and of many images (hard links to synthetic ones)."""
    synthetic, peaks = scratch / "synthetic", []
    if not synthetic.exists():
        synthetic_faces.generate(synthetic, 500, 1)
    _, names, *rows = (synthetic / "list_attr_celeba.txt").read_text().splitlines()
    for size in sizes:
        source = scratch / f"faces{size}"
        if not source.exists():
            faces = sorted((synthetic / "img_align_celeba").iterdir())
            images = {f"{number + 1:06d}.jpg": faces[number % 500] for number in range(size)}
            data_set(source, images, [names, *(name + rows[n % 500][10:] for n, name in enumerate(images))])
        for form in ("stream", "compact"):
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            command = [*BUILD, source, "--out", out, "--attributes", "Male,Smiling", "--keep-duplicates"]
            peaks.append(peak([*command, *(["--form", "stream", "--records", 2000] if form == "stream" else [])]))
            print(f"{size:,} images, {form}: peak {peaks[-1]:.0f} MiB", flush=True)
    few, many = peaks[:2], peaks[-2:]
    print(", ".join(f"{form}: {b / a - 1:+.1%}" for form, a, b in zip(("stream", "compact"), few, many)))


def main(settings):
    folder = pathlib.Path(settings.folder)
    if settings.what == "builder":
        builder(folder, settings.rounds)
    else:
        memory(folder)


if __name__ == "__main__":
    run_script(main, Settings)
