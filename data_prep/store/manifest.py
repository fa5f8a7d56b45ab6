"""manifest.json: what a folder of LMDBs holds and how it was made. Tools, generator and layers read it here."""

import json
import os
import pathlib

NAME = "manifest.json"
FORMS = ("stream", "compact")


def read(folder):
    """The manifest of an LMDB folder, a dict. Raises OSError when there is none, ValueError when it is damaged."""
    path = pathlib.Path(folder) / NAME
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing; make lmdb writes it")
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error})")
    if not isinstance(manifest, dict) or "attributes" not in manifest:
        raise ValueError(f"{path}: no manifest of make lmdb (no attributes in it)")
    return manifest


def exists(folder):
    """True where a folder has a manifest."""
    return (pathlib.Path(folder) / NAME).exists()


def sampling(manifest):
    """How training images are drawn, see balance.Plan: "balanced" for manifests that do not say."""
    return manifest.get("settings", {}).get("sampling", "balanced")


def write(folder, manifest):
    """Write the manifest, all the way to the disk. Raises OSError."""
    with open(pathlib.Path(folder) / NAME, "w") as file:
        file.write(json.dumps(manifest, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
