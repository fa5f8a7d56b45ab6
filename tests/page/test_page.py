"""The page of `face-cascade export --page` in headless Chromium: `make test-page`."""

import functools
import http.server
import re
import shutil
import threading
import time

import numpy as np
import pytest
from cascade_files import ATTRIBUTES, write_calibration, write_networks, write_weights
from playwright.sync_api import sync_playwright

from tools import networks
from tools.export import export_onnx, page
from tools.predict import Predictor
from tools.predict.face_finder import FaceFinder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
LOADED = 120_000  # milliseconds that a busy machine may take


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder of networks with the weights of a cascade, calibrated."""
    folder = tmp_path_factory.mktemp("nets")
    write_networks(folder)
    write_weights(folder / "cascade/deploy.prototxt", folder / "w.caffemodel")
    write_calibration(folder / "w.caffemodel")
    return folder


@pytest.fixture(scope="session")
def folder(files, tmp_path_factory):
    """The page of this cascade."""
    model = files / "cascade/deploy.prototxt"
    made = export_onnx.export(model, files / "w.caffemodel", ATTRIBUTES, page.ADJUSTABLE)
    folder = tmp_path_factory.mktemp("page")
    page.write(folder, made, networks.region_mapper_parameters(model))
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; `requests` holds the method and path of each request."""

    def __init__(self, folder):
        self.requests = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code="-", size="-"):
        self.server.requests.append((self.command, self.path))

    def log_message(self, *words):
        pass


@pytest.fixture(scope="session")
def server(folder):
    with Server(folder) as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    assert CHROMIUM, "Chromium is not on this machine; on Debian: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, server):
    """The page, loaded; what its console says is an error of the test."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        tab = context.new_page()
        errors = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        open_page(tab, server)
        yield tab
        assert not errors


def open_page(tab, server, state="ready"):
    tab.goto(server.address)
    tab.wait_for_selector(f"html[data-state={state}]", state="attached", timeout=LOADED)


def shown(tab, action):
    """What the page shows of a face after an action: probabilities (A,), words, and regions (A, 4)."""
    tab.evaluate("document.getElementById('times').textContent = ''")
    action()
    tab.wait_for_selector("#times:not(:empty)", timeout=LOADED)
    widths = tab.locator(".attribute .bar > span").evaluate_all("bars => bars.map(bar => bar.style.inlineSize)")
    regions = []
    for name in ATTRIBUTES:
        tab.get_by_role("radio", name=name).check(force=True)
        label = tab.locator("#aligned-face").get_attribute("aria-label")
        x1, x2, y1, y2 = map(float, re.search(r"([\d.]+) to ([\d.]+) across, ([\d.]+) to ([\d.]+) down", label).groups())
        regions.append((x1, y1, x2, y2))
    words = tab.locator(".attribute .word").all_inner_texts()
    return np.array([float(width.rstrip("%")) / 100 for width in widths]), words, np.array(regions)


@pytest.mark.parametrize("aligned", (True, False))
def test_answers_equal_those_of_python_on_ten_faces(tab, folder, files, aligned):
    finder = None if aligned else FaceFinder(detection_size=page.PHOTOS["detectionSize"])
    predictor = Predictor(files / "w.caffemodel", files, aligned=aligned, finder=finder)
    tab.locator("#aligned").set_checked(aligned)
    differences, seen = [], set()
    for number in range(page.EXAMPLES):
        probabilities, words, regions = shown(tab, lambda number=number: tab.locator(".example").nth(number).click())
        face, *others = predictor.predict(folder / f"examples/{number + 1}.png")
        assert not others
        answers = [face.attributes[name] for name in ATTRIBUTES]
        differences.append(np.abs(probabilities - [answer.probability for answer in answers]).max())
        assert words == [answer.answer for answer in answers]
        if aligned:
            np.testing.assert_allclose(regions, [answer.region for answer in answers], atol=0.11)
        seen.add(tuple(words))
    print(differences)
    assert max(differences) < 1e-3
    assert len(seen) > 1  # the faces' answers differ
