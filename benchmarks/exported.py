"""Accuracy, size and speed of exported networks, by ONNX Runtime, NumPy and Pillow alone; and of a page in Chromium.

    .venv/bin/python -m benchmarks.exported build/demo cascade.onnx cascade16.onnx --threads 1
    .venv/bin/python -m benchmarks.exported build/demo --page build/page

RUN: the evaluated run that the files were exported from. The networks predict for its first test faces, one by one, and
the results are compared with the scores that `face-cascade evaluate` wrote. The files are interleaved; the machine
should be idle. --page measures a page that `face-cascade export --page` wrote: bytes and seconds of a cold load, and
milliseconds of an answer, in one thread as always in the page.
"""

import argparse
import functools
import http.server
import json
import pathlib
import re
import shutil
import statistics
import threading
import time

import numpy as np
import onnxruntime
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=pathlib.Path, metavar="RUN", help="The folder of the run.")
    add("files", nargs="*", metavar="FILE", help="The ONNX files of its cascade.")
    add(
        "--faces",
        type=pathlib.Path,
        metavar="FOLDER",
        help="A data set in CelebA's layout, whose test split is used (default: faces/ in the run).",
    )
    add("--count", type=int, default=100, metavar="N", help="The number of test faces (default: 100).")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads of ONNX Runtime, 0 for all (default: 0).")
    add("--page", type=pathlib.Path, metavar="FOLDER", help="The folder of a page.")
    arguments = parser.parse_args()
    if arguments.files:
        files(arguments)
    if arguments.page:
        page(arguments.page)


def files(arguments):
    """Print accuracy, size and speed of the files."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, arguments.threads
    sessions = [onnxruntime.InferenceSession(file, options) for file in arguments.files]
    metadata = sessions[0].get_modelmeta().custom_metadata_map
    names, calibration = json.loads(metadata["attributes"]), json.loads(metadata["calibration"])
    pictures, labels = test_faces(arguments.faces or arguments.run / "faces", names, arguments.count)
    answers, seconds = [[] for _ in sessions], [[] for _ in sessions]
    for picture in pictures:
        image = np.asarray(Image.open(picture).convert("RGB"))[np.newaxis]
        for number, session in enumerate(sessions):
            began = time.perf_counter()
            answers[number].append(session.run(["probability", "present"], {"image": image}))
            seconds[number].append(time.perf_counter() - began)
    with np.load(arguments.run / "evaluation" / "cascade.npz") as kept:
        scores = kept["logits"][: len(pictures)]
        assert (kept["labels"][: len(pictures)] == labels).all(), "the evaluation is of other faces"
    expected = 1 / (1 + np.exp(-(scores * calibration["slope"] + calibration["offset"])))
    accuracy = ((scores > calibration["threshold"]) == labels).mean()
    print(f"face-cascade evaluate: accuracy {accuracy:.4f} on {len(pictures)} faces")
    for file, found, times in zip(arguments.files, answers, seconds):
        probabilities, present = (np.concatenate(values) for values in zip(*found))
        print(
            f"{file}: {pathlib.Path(file).stat().st_size / 1e6:.1f} MB, accuracy {(present == labels).mean():.4f}, "
            f"probabilities differ by {np.abs(probabilities - expected).max():.1e} at most, "
            f"{statistics.median(times) * 1000:.0f} ms a face"
        )


def test_faces(folder, names, count):
    """Paths of the first test faces, and their labels (count, A) bool."""
    split = dict(line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines())
    _, header, *rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    columns = [header.split().index(name) for name in names]
    rows = [row.split() for row in rows]
    rows = [row for row in rows if split[row[0]] == "2"][:count]
    labels = np.array([[row[1 + column] == "1" for column in columns] for row in rows])
    return [folder / "img_align_celeba" / row[0] for row in rows], labels


class Counting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts the bytes in `server.sent`."""

    def copyfile(self, source, outputfile):
        data = source.read()
        self.server.sent += len(data)
        outputfile.write(data)

    def log_message(self, *words):
        pass


def page(folder, rounds=3):
    """Print bytes and seconds of cold loads of a page, and milliseconds to find a face and to answer for it."""
    from playwright.sync_api import sync_playwright

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Counting, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(rounds):
            server.sent, began = 0, time.perf_counter()
            with browser.new_context() as context:
                tab = context.new_page()
                tab.goto(f"http://127.0.0.1:{server.server_port}/")
                tab.wait_for_selector("html[data-state=ready]", state="attached", timeout=120_000)
                load, times = time.perf_counter() - began, []
                for number in range(tab.locator(".example").count()):
                    tab.evaluate("document.getElementById('times').textContent = ''")
                    tab.locator(".example").nth(number).click()
                    tab.wait_for_selector("#times:not(:empty)", timeout=120_000)
                    times.append(list(map(int, re.findall(r"(\d+) ms", tab.locator("#times").inner_text()))))
                find, answer = (statistics.median(values) for values in zip(*times))
                print(
                    f"{folder} in Chromium {browser.version}: {server.sent / 1e6:.1f} MB in {load:.1f} s, "
                    f"finding faces {find:.0f} ms, answering {answer:.0f} ms (medians of {len(times)} examples)"
                )


if __name__ == "__main__":
    main()
