"""Photos of phones are read beside either Caffe: where its Python's Pillow is too old, that of .venv is asked."""

import os
import pathlib
import subprocess

from data_prep import image_files

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SAVE = "import sys; from PIL import Image; import pillow_heif as h; h.register_heif_opener(); "
SAVE += "[Image.new('RGB', (80, 60), (200, 30, 40)).save(path) for path in sys.argv[1:]]"


def test_heif_and_avif_are_read(tmp_path):
    paths = [tmp_path / f"photo.{ending}" for ending in ("heic", "avif")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([str(REPOSITORY / ".venv/bin/python"), "-c", SAVE, *map(str, paths)], check=True, env=environment)
    for path in paths:
        header, image = image_files.header(path.read_bytes()), image_files.decode(path.read_bytes())
        assert (header.width, header.height) == (80, 60) and image.shape == (60, 80, 3)
        assert abs(image.astype(int) - (40, 30, 200)).max() < 4
