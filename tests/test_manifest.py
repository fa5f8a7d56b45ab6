"""manifest.json is read as it was written; a minimal one is readable; errors for damaged ones name file and key."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from data_prep.store import manifest
from data_prep.store.manifest import Manifest, Means, Settings, Source, Split

FULL = Manifest(
    attributes=["Male", "Wears_Mask"],
    form="compact",
    source=Source("csv", "faces.csv", {"seed": 3}, {"faces.csv": {"bytes": 9, "sha256": "0"}}, {"count": 30}),
    settings=Settings(seed=3, sampling="natural", dropped=2),
    splits={"train": Split(20, {"Male": 5, "Wears_Mask": 20}), "val": Split(5, {"Male": 1, "Wears_Mask": 2})},
    train_records=20,
    means=Means(20, [1.5, 2, 3]),
    frame=((103.0, 112.0), (146.0, 112.0)),
)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest.write(tmp_path, FULL)
    assert manifest.read(tmp_path) == FULL and manifest.exists(tmp_path) and not manifest.exists(tmp_path / "no")
    assert (FULL.kind, FULL.sampling) == ("csv", "natural")
    np.testing.assert_allclose(FULL.prior, [0.25, 1])
    text = (tmp_path / "manifest.json").read_bytes()
    assert manifest.checksum(tmp_path) == hashlib.sha256(text).hexdigest()
    assert json.loads(text)["train"] == {"images": 20, "positive": {"Male": 5, "Wears_Mask": 20}}


def test_a_minimal_manifest_has_defaults(tmp_path):
    (tmp_path / "manifest.json").write_text('{"attributes": ["Male"], "train": {"images": 4, "positive": {"Male": 1}}}')
    read = manifest.read(tmp_path)
    assert (read.form, read.source, read.kind, read.sampling, read.frame) == ("stream", None, None, "balanced", None)
    assert read.settings == Settings() and read.prior.tolist() == [0.25]
    with pytest.raises(ValueError, match="key 'train' is missing"):
        Manifest(["Male"]).prior  # noqa: B018


def test_patches_follow_form_and_frame():
    image = np.random.default_rng(0).integers(0, 255, (250, 250, 3)).astype(np.uint8)
    compact = FULL.patch(image)
    assert compact.shape == (224, 224, 3)
    assert (compact != dataclasses.replace(FULL, frame=None).patch(image)).any()
    patch = image[:224, :224]
    assert dataclasses.replace(FULL, form="stream").patch(patch) is patch


def changed(*path):
    """The JSON of FULL with the value at a path of keys replaced by the last of them; None deletes."""
    *keys, last, new = path
    value = json.loads(json.dumps(FULL.to_json()))
    place = value
    for key in keys:
        place = place[key]
    if new is None:
        del place[last]
    else:
        place[last] = new
    return json.dumps(value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not readable as JSON"),
        ('{"attributes": ["Male"]', "not readable as JSON"),
        ("[" * 100000, "not readable as JSON"),
        ("[]", "must hold a JSON object, not list"),
        ("null", "must hold a JSON object, not null"),
        ("{}", "key 'attributes' is missing"),
        ('{"attributes": NaN}', "NaN is not a number"),
        (changed("attributes", "Male"), "key 'attributes' must be a list"),
        (changed("attributes", []), "key 'attributes' holds"),
        (changed("attributes", ["Male", "Male"]), "list of different names"),
        (changed("attributes", ["Male", 5]), "'5', which is not a name"),
        (changed("attributes", ["Male", "$(shell id)"]), "which is not a name of an attribute"),
        (changed("attributes", ["Male", "a/../../b"]), "which is not a name of an attribute"),
        (changed("form", "compacted"), "key 'form' is 'compacted', none of stream, compact"),
        (changed("form", 3), "key 'form' must be a string"),
        (changed("train", "images", None), "train: damaged, key 'images' is missing"),
        (changed("train", "images", -1), "key 'images' is -1, less than 0"),
        (changed("train", "images", True), "key 'images' must be a number"),
        (changed("train", "positive", {"Male": 3}), "key 'positive' must have 2 entries"),
        (changed("train", "positive", {"Male": 3, "Young": 3}), "key 'Wears_Mask' is missing"),
        (changed("train", "positive", "Male", 21), "key 'Male' is 21, more than its 20 images"),
        (changed("train", [1]), "key 'images' is missing"),
        (changed("source", "x"), "key 'source' must be an object"),
        (changed("source", "kind", None), "source: damaged, key 'kind' is missing"),
        (changed("source", "options", []), "key 'options' must be an object"),
        (changed("settings", "seed", "x"), "settings: damaged, key 'seed' must be a number"),
        (changed("settings", "seed", 1.5), "key 'seed' must be a number"),
        (changed("settings", "sampling", "x"), "key 'sampling' is 'x'"),
        (changed("settings", "convert", 1), "key 'convert' must be a true or false"),
        (changed("settings", "shards", 0), "key 'shards' is 0"),
        (changed("means", "bgr", [1, 2]), "key 'bgr' must have 3 entries"),
        (changed("train_records", -1), "key 'train_records' is -1"),
        (changed("frame", [1, 2]), "key 'frame' must be a list"),
        (changed("frame", [[1, 2], [3]]), "key 'frame' must have 2 entries"),
        (changed("frame", [[1, 2], [1, 2]]), "both eyes at the same point"),
        (changed("frame", [[1, 2], [1, 5]]).replace("5]", "1e999]"), "key 'frame' must be a number"),
    ],
)
def test_errors_for_damaged_manifests_name_file_and_key(tmp_path, text, words):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError) as caught:
        manifest.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/manifest.json: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_or_a_folder_in_its_place_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.json: missing; face-cascade data"):
        manifest.read(tmp_path)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(OSError, match="manifest.json: Is a directory"):
        manifest.read(tmp_path)
