"""ONNX files give the engine's outputs from the picture on; a folder to hand on answers like the run it was made of."""

import json
import re
import runpy
import shutil
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from cascade_files import ATTRIBUTES
from command_line import REPOSITORY

from data_prep import geometry
from tools import cli, model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.export import model, page
from tools.export import zoo as zoo_files
from tools.predict import Predictor
from tools.run import Run

# Width and height: enlarged, enlarged one way, both ways averaged, twice as large, and where only the height shrinks.
SIZES = ((178, 218), (30, 40), (400, 200), (300, 400), (512, 512), (1000, 1300), (240, 300), (256, 256))


def session(exported):
    return onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])


def results(session, images, **inputs):
    """What a session gives for images B G R of one size: dict output -> array."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": np.stack(images)[..., ::-1], **inputs})))


def export(*words):
    """Run the command; returns its exit status."""
    return cli.main(["export", *map(str, words)])


@pytest.mark.parametrize("stage", ("cascade", "region", "whole_face"))
def test_outputs_equal_those_of_the_engine(random_run, rendered, stage):
    """For pictures of all SIZES a session answers as the engine does for their patches."""
    weights = random_run.weights(stage)
    opened, net = session(model.export(random_run, stage)), networks.load(random_run.deploy(stage), weights)
    score, scores, _ = calibration.of_answer(weights, net, ATTRIBUTES)
    blobs = [blob for blob in (score, "response", "rois_image") if blob in net.blobs]
    for width, height in SIZES if stage == "cascade" else SIZES[:1]:
        faces = rendered[:4] if (width, height) == SIZES[0] else rendered[:1]
        images = [cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC) for face in faces]
        expected = networks.forward(net, [geometry.patch(geometry.face(image)) for image in images], blobs)
        found = results(opened, images)
        probability = calibration.probability(expected[score], np.array(scores.slope), np.array(scores.offset))
        np.testing.assert_allclose(found["probability"], probability, atol=1e-4, err_msg=f"{width} x {height}")
        clear = abs(expected[score] - scores.threshold) > 1e-3 * np.abs(expected[score]).max()
        np.testing.assert_array_equal(found["present"][clear], (expected[score] > scores.threshold)[clear])
        assert ("region" in found) == (stage != "whole_face")
        if "region" in found:
            np.testing.assert_allclose(found["response"], expected["response"], atol=1e-3)
            region = geometry.from_patch(expected["rois_image"], (height, width))
            np.testing.assert_allclose(found["region"], region, atol=1e-2)
            # Otherwise equal regions would prove nothing.
            assert len(faces) == 1 or stage == "region" or np.ptp(region, axis=0).max() > 0


def test_regions_are_adjustable_in_the_file_of_the_web_page(random_run, rendered):
    adjustable = session(model.export(random_run, "cascade", adjustable=page.ADJUSTABLE))
    expected = results(session(model.export(random_run, "cascade")), rendered[:4])
    regions = []
    for values in ((0.5, 0.5), (0.5, 0.0), (0.8, 0.5), (1.0, 0.5)):
        settings = {name: np.array(value, np.float32) for name, value in zip(page.ADJUSTABLE, values)}
        found = results(adjustable, rendered[:4], **settings)
        regions.append(found["region"])
        for name in expected if values == (0.5, 0.5) else ():
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    assert np.ptp(regions, axis=0).max() > 1


def test_a_script_without_the_project_gives_the_same_predictions(random_run, rendered, tmp_path, monkeypatch, capsys):
    """The example of docs/prediction.md, which needs only ONNX Runtime, NumPy and Pillow."""
    assert export("--run", random_run.folder, "--out", tmp_path / "cascade.onnx") == 0
    cv2.imwrite(str(tmp_path / "face.jpg"), rendered[0])
    (face,) = Predictor(random_run, aligned=True).predict(tmp_path / "face.jpg")
    text = (REPOSITORY / "docs/prediction.md").read_text().partition("## ONNX")[2]
    for name in ("caffe", "cv2", "data_prep", "onnx", "tools", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(text.partition("```python\n")[2].partition("```")[0], {})
    printed = capsys.readouterr().out.splitlines()
    for line, (name, answer) in zip(printed, face.attributes.items(), strict=True):
        probability, *region = map(float, re.findall(r"\d+\.\d*", line))
        assert line.startswith(f"{name}: ") and abs(probability - answer.probability) < 1e-3
        np.testing.assert_allclose(region, answer.region, atol=0.6)


def test_smaller_files_give_the_same_predictions_and_metadata(random_run, rendered, tmp_path):
    expected, sizes = None, []
    for precision, tolerance in (("fp32", 0), ("fp16", 0.01), ("int8", 0.2)):
        out = tmp_path / f"{precision}.onnx"
        assert export("--run", random_run.folder, "--out", out, "--precision", precision) == 0
        read = onnx.load(out)
        metadata = model.metadata(read)
        assert json.loads(metadata.pop("attributes")) == ATTRIBUTES and "R G B" in metadata.pop("input")
        scores = {"threshold": [0.25, 0.5], "slope": [1.0, 2.0], "offset": [0.0, -1.0]}
        assert json.loads(metadata.pop("calibration")) == scores
        assert metadata == {"calibrated": "true", "trained on": ""}
        found = results(session(read), rendered)["probability"]
        expected = found if expected is None else expected
        assert np.abs(found - expected).max() <= tolerance
        sizes.append(sum(len(constant.raw_data) for constant in read.graph.initializer))
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.4 * sizes[0]


def test_a_network_of_rendered_faces_says_so_and_uncalibrated_weights_are_asked_for(uncalibrated, tmp_path, capsys):
    for words in (("--out", tmp_path / "cascade.onnx"), ("--zoo", tmp_path / "zoo")):
        assert export("--run", uncalibrated.folder, *words) == 1
        assert "not calibrated" in capsys.readouterr().err and not words[1].exists()
        assert export("--run", uncalibrated.folder, *words, "--uncalibrated") == 0
    metadata = model.metadata(onnx.load(tmp_path / "cascade.onnx"))
    assert metadata["trained on"] == "rendered faces" and metadata["calibrated"] == "false"
    assert "calibration" not in metadata and len(Predictor(tmp_path / "zoo").notes) == 2
    text = (tmp_path / "zoo/readme.md").read_text()
    assert "Trained on rendered faces" in text and "Answers for photos mean nothing." in text


def test_a_layer_that_cannot_be_exported_is_named(random_run, tmp_path):
    folder = shutil.copytree(random_run.folder / "whole_face", tmp_path / "whole_face")
    deploy = folder / "deploy.prototxt"
    deploy.write_text(deploy.read_text().replace("pool: MAX", "pool: AVE", 1))
    with pytest.raises(ToolError, match="layer pool1: only MAX pooling without padding has a translation"):
        model.export(Run.read(folder), "whole_face")


def test_a_folder_is_written_again_and_one_of_other_files_is_left_alone(random_run, tmp_path, fails):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/readme.txt").write_text("mine")
    for option in ("--zoo", "--page"):
        fails("export", "--run", random_run.folder, option, tmp_path / "mine", says="holds other files; give a folder")
        fails("export", "--run", random_run.folder, option, tmp_path / "mine/readme.txt", says="Not a directory")
    readme, weights = (tmp_path / "zoo" / name for name in ("readme.md", "cascade.caffemodel"))
    words = ["--run", random_run.folder, "--zoo", tmp_path / "zoo"]
    for licence in ("first", "second"):
        assert export(*words, "--license", licence) == 0 and f'license: "{licence}"' in readme.read_text()
    readme.write_text("by hand")
    weights.unlink()  # as an interrupted export leaves it
    assert export(*words) == 0 and readme.read_text() == "by hand" and weights.exists()
    assert export(*words, "--stage", "whole_face") == 0 and not weights.exists()


# A folder to hand on ----------------------------------------------------------------------------------------


@pytest.fixture
def zoo(random_run, tmp_path, capsys):
    """A folder that the command wrote, and what it said."""
    assert export("--run", random_run.folder, "--zoo", tmp_path / "zoo", "--license", "CC BY 4.0") == 0
    return tmp_path / "zoo", capsys.readouterr().out


def test_a_folder_to_hand_on_is_complete_and_says_what_is_missing(zoo, random_run):
    folder, said = zoo
    names = "calibration.json cascade.caffemodel deploy.prototxt readme.md run.json solver.prototxt train_val.prototxt"
    assert sorted(path.name for path in folder.iterdir()) == [zoo_files.MARK, *names.split()]
    assert "yours to fill in before you publish it: --data-terms\n" in said
    text = (folder / "readme.md").read_text()
    front = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert front["license"] == '"CC BY 4.0"' and json.loads(front["attributes"]) == ATTRIBUTES
    assert "Licence of the weights: CC BY 4.0" in text and "Terms of the training data: not stated;" in text
    assert "at (69, 111) and (108, 111)" in text
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(random_run.folder.parent).encode() in random_run.weights("cascade").read_bytes()
    for place in (random_run.folder.parent, folder.parent, REPOSITORY):
        assert str(place).encode() not in content
    solver = (folder / "solver.prototxt").read_text()
    for line in ('net: "train_val.prototxt"', 'snapshot_prefix: "cascade"', 'weights: "cascade.caffemodel"'):
        assert line in solver
    model_files.read(folder / "train_val.prototxt")


def test_a_folder_to_hand_on_answers_like_its_run_from_elsewhere(
    zoo, random_run, rendered, tmp_path, monkeypatch, capsys
):
    moved = shutil.move(zoo[0], tmp_path / "elsewhere")
    expected = Predictor(random_run, aligned=True)
    monkeypatch.chdir(tmp_path)
    found = Predictor("elsewhere", aligned=True)  # as a user types it
    assert found.notes == expected.notes == []
    assert found.predict(rendered[0])[0].to_dict() == expected.predict(rendered[0])[0].to_dict()
    cv2.imwrite(str(tmp_path / "face.png"), rendered[0])
    monkeypatch.setattr(sys, "argv", ["predict.py", str(moved), str(tmp_path / "face.png")])
    capsys.readouterr()
    runpy.run_path(str(REPOSITORY / "examples/predict.py"))
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ATTRIBUTES
    (face,) = expected.predict(tmp_path / "face.png")
    np.testing.assert_allclose([*map(int, printed[1].split()[-4:])], face.attributes["Male"].region, atol=0.6)
    with pytest.raises(ToolError, match="holds no record of the training of its weights; give the run"):
        zoo_files.write(tmp_path / "again", Run.read(moved), "cascade")


@pytest.mark.parametrize(
    "name, old, new, words",
    (
        ("deploy.prototxt", "0.015625", "0.03125", "deploy.prototxt: changed since cascade was done"),
        ("run.json", '"checksum": "', '"checksum": "0', "cascade.caffemodel: changed since cascade was done"),
        ("run.json", f'"{ATTRIBUTES[0]}"', '"Smiling_Not"', "deploy.prototxt: for other attributes than Smiling_Not"),
        ("run.json", '"frame": null', '"frame": "x"', "run.json: .*damaged, .*frame"),
        ("calibration.json", "slope", "slop", "calibration.json: .*remove the file"),
    ),
)
def test_damage_of_a_folder_to_hand_on_is_one_line(zoo, name, old, new, words):
    path = zoo[0] / name
    before, found, after = path.read_text().rpartition(old)
    assert found
    path.write_text(before + new + after)
    with pytest.raises(ToolError, match=words) as error:
        Predictor(zoo[0], aligned=True)
    assert "\n" not in str(error.value)


def test_weights_and_prototxts_that_a_folder_to_hand_on_lacks_are_named(zoo):
    """Once the weights of the record answered for any file beside it, and training was offered in the folder."""
    (zoo[0] / "other.caffemodel").write_bytes((zoo[0] / "cascade.caffemodel").read_bytes())
    assert Run.read(zoo[0] / "cascade.caffemodel").folder == zoo[0]
    for name in ("other", "typo"):
        with pytest.raises(ToolError, match=f"{name}.caffemodel: not the weights that .*run.json describes"):
            Run.read(zoo[0] / f"{name}.caffemodel")
    (zoo[0] / "deploy.prototxt").unlink()
    with pytest.raises(ToolError, match=r"zoo/deploy.prototxt: missing, though cascade was done; bring the file back$"):
        Run.read(zoo[0]).deploy("cascade")
