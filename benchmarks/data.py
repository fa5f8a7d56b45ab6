"""Measure data preparation: the builder against Caffe's own, and its memory. Reading: benchmarks.growth.

    python -m benchmarks.data builder IMAGES_FOLDER --caffe .caffe/bin      # images/s against convert_imageset
    python -m benchmarks.data memory SCRATCH                                # peak memory, 2,000 and 50,000 images

Both print their measurements and the load of the machine.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio
from data_prep import start
from data_prep.synthetic import synthetic_faces

BUILD = start.command(sys.executable, "tools.cli", "data")


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


def builder(images, caffe, rounds):
    """The same faces resized to 224 and encoded as JPEG by convert_imageset, and a whole build, interleaved."""
    with tempfile.TemporaryDirectory(dir=images.parent) as scratch:
        scratch = pathlib.Path(scratch)
        faces = {path.name: path for path in sorted(images.iterdir())}
        (scratch / "list.txt").write_text("".join(f"{name} 0\n" for name in faces))
        # One attribute, half of the faces with it: each face is once in the training stream, or in val or test.
        rows = ["Smiling", *(f"{name} {1 if number % 2 else -1}" for number, name in enumerate(faces))]
        data_set(scratch / "source", faces, rows)
        converter = [caffe / "convert_imageset", "-resize_width", 224, "-resize_height", 224]
        converter += ["-encoded", "-encode_type", "jpg", f"{images}/", scratch / "list.txt", scratch / "theirs"]
        ours = [*BUILD, scratch / "source", "--out", scratch / "ours", "--attributes", "Smiling"]
        ours += ["--form", "stream", "--records", 0, "--keep-duplicates"]

        def run(contestant):
            command, out = contestant
            shutil.rmtree(out, ignore_errors=True)
            return command_seconds(command, stderr=subprocess.DEVNULL)

        def show(number, found):
            (theirs, theirs_cpu), (our, our_cpu) = found["theirs"], found["ours"]
            print(
                f"round {number}: convert_imageset {len(faces) / theirs:,.0f} images/s ({theirs_cpu:.2f} s of CPU), "
                f"face-cascade data {len(faces) / our:,.0f} images/s ({our_cpu:.2f} s), {theirs / our:.2f} times; "
                f"{load()}",
                flush=True,
            )

        contestants = {"theirs": (converter, scratch / "theirs"), "ours": (ours, scratch / "ours")}
        results = interleaved(contestants, rounds, run, warm_up=False, after_round=show)
        walls = {name: [wall for wall, _ in found] for name, found in results.items()}
        print(f"median {ratio(walls['theirs'], walls['ours']):.2f} times, whole commands with their start")


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
            command = [*BUILD, source, "--out", out, "--form", form, "--records", 2000, "--attributes", "Male,Smiling"]
            peaks.append(peak([*command, "--keep-duplicates"]))
            print(f"{size:,} images, {form}: peak {peaks[-1]:.0f} MiB", flush=True)
    few, many = peaks[:2], peaks[-2:]
    print(", ".join(f"{form}: {b / a - 1:+.1%}" for form, a, b in zip(("stream", "compact"), few, many)))


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=("builder", "memory"), help="The measurement to run, see above.")
    add("path", type=pathlib.Path, metavar="FOLDER", help="The folder that it needs, see above.")
    add(
        "--caffe",
        type=pathlib.Path,
        default=pathlib.Path(".caffe/bin"),
        metavar="FOLDER",
        help="The folder of the start scripts of BVLC Caffe (default: .caffe/bin).",
    )
    add("--rounds", type=int, default=5, metavar="N", help="Rounds of builder (default: 5).")
    given = parser.parse_args()
    if given.what == "builder":
        builder(given.path, given.caffe, given.rounds)
    else:
        memory(given.path)


if __name__ == "__main__":
    main()
