"""The page of `face-cascade export --page` in headless Chromium: `make test-all`."""

import functools
import http.server
import re
import shutil
import threading

import numpy as np
import pytest
from cascade_files import ATTRIBUTES, write_run
from PIL import Image
from playwright.sync_api import sync_playwright

from data_prep.faces.face_finder import FaceFinder
from tools import cli
from tools.export import page
from tools.predict import Predictor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="there is no browser: apt install chromium")]
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),  # permits a camera with a test picture
)
LOADED = 120_000  # milliseconds that a busy machine may take


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run with a calibrated cascade of random weights."""
    return write_run(tmp_path_factory.mktemp("nets") / "run")


@pytest.fixture(scope="session")
def folder(run, tmp_path_factory):
    """The page of this cascade."""
    folder = tmp_path_factory.mktemp("page")
    assert cli.main(["export", "--run", str(run.folder), "--page", str(folder), "--precision", "fp32"]) == 0
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; `requests` holds the method and path of each request.

    declares: whether it declares the compression of .gz files, so that browsers undo it, as some servers do
    """

    def __init__(self, folder, declares=False):
        self.requests, self.declares = [], declares
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code="-", size="-"):
        self.server.requests.append((self.command, self.path))

    def log_message(self, *words):
        pass

    def end_headers(self):
        if self.server.declares and self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()


@pytest.fixture(scope="session")
def server(folder):
    with Server(folder) as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture
def tab(chromium, server):
    """The loaded page; any message on its console fails the test."""
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
    """What the page shows of a face after an action: probabilities (A,), texts, and regions (A, 4)."""
    tab.evaluate("document.getElementById('times').textContent = ''")
    action()
    tab.wait_for_selector("#times:not(:empty)", timeout=LOADED)
    widths = tab.locator(".attribute .bar > span").evaluate_all("bars => bars.map(bar => bar.style.inlineSize)")
    regions = []
    for name in ATTRIBUTES:
        tab.get_by_role("radio", name=name).check(force=True)
        label = tab.locator("#aligned-face").get_attribute("aria-label")
        x1, x2, y1, y2 = map(
            float, re.search(r"([\d.]+) to ([\d.]+) across, ([\d.]+) to ([\d.]+) down", label).groups()
        )
        regions.append((x1, y1, x2, y2))
    words = tab.locator(".attribute .word").all_inner_texts()
    return np.array([float(width.rstrip("%")) / 100 for width in widths]), words, np.array(regions)


@pytest.mark.parametrize("aligned", (True, False))
def test_predictions_equal_those_of_python_on_ten_faces(tab, folder, run, aligned):
    assert tab.locator("#synthetic").is_hidden() and "calibrated" in tab.locator("#meaning").inner_text()
    finder = None if aligned else FaceFinder(detection_size=page.PHOTOS["detectionSize"])
    predictor = Predictor(run, aligned=aligned, finder=finder)
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
    # The networks that find faces add up in another order than OpenCV's: a landmark moves by 1e-4 pixels, and a few
    # pixels of the aligned picture are rounded to the other side, so that a response may cross the threshold.
    assert np.median(differences) < (1e-4 if aligned else 2e-3) and max(differences) < (1e-3 if aligned else 0.05)
    assert len(seen) > 1  # otherwise equal predictions would prove nothing


def test_threshold_and_average_region_change_the_answer_and_the_map(tab):
    click = tab.locator(".example").nth(0).click
    _, _, before = shown(tab, click)
    cells = tab.locator("#map td")
    with_average = cells.all_inner_texts()
    _, _, low = shown(tab, lambda: tab.locator("#threshold").fill("0"))
    assert np.abs(low - before).max() > 1 and tab.locator("#map td.above").count() == 16
    _, _, high = shown(tab, lambda: tab.locator("#threshold").fill("1"))
    assert tab.locator("#map td.above").count() == 0 and tab.locator("#fallback").is_visible()
    _, _, reset = shown(tab, tab.locator("#reset").click)
    np.testing.assert_array_equal(reset, before)
    shown(tab, lambda: tab.locator("#average").uncheck())
    assert cells.all_inner_texts() != with_average


def test_unusable_files_are_reported_in_one_message(tab, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear reader, this is no picture.")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    problem = tab.locator("#problem")
    for name, words in (
        ("letter.jpg", "letter.jpg is not a picture that this browser can read. Choose a JPEG, PNG or WebP file."),
        ("huge.png", "huge.png has 10000 x 10000 pixels; this page takes 50 million at most. Make it smaller"),
        ("tiny.png", "tiny.png has 8 x 8 pixels, too few for a face: 16 x 16 are needed."),
    ):
        tab.locator("#file").set_input_files(tmp_path / name)
        tab.wait_for_selector("#problem:has-text('" + name + "')")
        assert words in problem.inner_text()
    shown(tab, tab.locator(".example").nth(0).click)
    assert problem.is_hidden()
    Image.new("RGB", (300, 200), (90, 120, 90)).save(tmp_path / "empty.png")
    tab.locator("#file").set_input_files(tmp_path / "empty.png")
    tab.wait_for_selector("#status:has-text('No face found')", timeout=LOADED)


def test_camera_runs_and_stops_and_a_missing_one_is_reported(tab):
    """Chromium's own test picture has no face."""
    tab.locator("#camera").click()
    tab.wait_for_selector("#status:has-text('No face in sight')", timeout=LOADED)
    assert tab.locator("#camera").inner_text() == "Stop the camera"
    tab.locator("#camera").click()
    assert tab.locator("#camera").inner_text() == "Use the camera"
    assert tab.evaluate("document.getElementById('video').srcObject === null")
    refusal = "() => Promise.reject(new DOMException('', 'NotFoundError'))"
    tab.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refusal} }}")
    tab.locator("#camera").click()
    tab.wait_for_selector("#problem:has-text('No camera was found. Connect one, or choose a photo.')")


def test_a_camera_that_is_not_wanted_any_more_is_stopped(tab):
    """Once a defect: where another picture was chosen while the browser asked, the stream was never stopped."""
    tab.evaluate("""() => {
        const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
        const permission = new Promise((resolve) => { globalThis.permit = resolve; });
        media.getUserMedia = (options) => {
            globalThis.opened = permission.then(() => real(options));
            return globalThis.opened;
        };
    }""")
    tab.locator("#camera").click()
    shown(tab, tab.locator(".example").nth(0).click)
    tab.evaluate("permit()")
    assert not tab.evaluate("opened.then((stream) => stream.active)")
    assert tab.locator("#camera").inner_text() == "Use the camera"
    assert tab.locator("#status").inner_text() == "1 face."


def test_a_page_of_rendered_faces_says_so(chromium, tmp_path):
    """By default with weights in half precision; from a server that declares the compression."""
    run, out = write_run(tmp_path / "run", synthetic=True), tmp_path / "page"
    (tmp_path / "run/cascade/calibration.json").unlink()
    assert cli.main(["export", "--run", str(run.folder), "--uncalibrated", "--page", str(out)]) == 0
    with Server(out, declares=True) as server, chromium.new_context() as context:
        tab = context.new_page()
        open_page(tab, server)
        assert tab.locator("#synthetic").is_visible()
        assert "not calibrated" in tab.locator("#meaning").inner_text()
        probabilities, _, _ = shown(tab, tab.locator(".example").nth(0).click)
        (face,) = Predictor(run).predict(out / "examples/1.png")
        expected = [answer.probability for answer in face.attributes.values()]
        np.testing.assert_allclose(probabilities, expected, atol=0.02)
        server.shutdown()


def test_pictures_do_not_leave_the_browser(chromium, server, folder, tmp_path):
    """Neither the page nor its worker can reach another server, and from its own it only reads files."""
    with Server(tmp_path) as other, chromium.new_context() as context:
        tab = context.new_page()
        open_page(tab, server)
        server.requests.clear()
        shown(tab, lambda: tab.locator("#file").set_input_files(folder / "examples/1.png"))
        assert server.requests == []
        (worker,) = tab.workers
        ask = "address => fetch(address, { mode: 'no-cors' }).then(() => 'reached', () => 'refused')"
        for place in (tab, worker):
            assert place.evaluate(ask, other.address) == "refused"
            assert place.evaluate(ask, server.address + "settings.json") == "reached"
        assert other.requests == []
        other.shutdown()
