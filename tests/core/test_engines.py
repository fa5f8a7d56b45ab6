"""Which Caffe a command runs on, its installation, and that only the project's own modules run."""

import os
import shutil
import subprocess

import pytest
from command_line import REPOSITORY, train_words

from tools import cli, demo
from tools import run as runs
from tools.errors import ToolError
from tools.install import engines, install_caffe
from tools.train import stages


@pytest.mark.parametrize(
    "wanted, device, precision, obstacle, name, words",
    [
        ("torch", "cpu", "float32", None, "torch", ""),
        ("bvlc", "cpu", "float32", "ignored", "bvlc", ""),
        ("auto", "cpu", "float32", None, "bvlc", "reference"),
        ("auto", "cuda", "float32", None, "torch", "GPU is asked for"),
        ("auto", "cpu", "bfloat16", None, "torch", "bfloat16 is asked for"),
        ("auto", "cpu", "float32", "this is Darwin on arm64", "torch", "Darwin"),
        ("caffe2", "cpu", "float32", None, None, "unknown Caffe 'caffe2'; choose one of auto, bvlc, torch"),
        ("bvlc", "cuda:0", "float32", None, None, "is a build for the CPU and cannot use cuda:0"),
        ("bvlc", "cpu", "bfloat16", None, None, "computes in float32 only, not bfloat16"),
    ],
)
def test_the_caffe_is_chosen_or_refused_for_the_stated_reason(
    wanted, device, precision, obstacle, name, words, monkeypatch
):
    monkeypatch.setattr(engines, "obstacle", lambda: obstacle)
    try:
        engine, reason = engines.choose(wanted, device, precision)
    except ToolError as error:
        assert name is None and words in str(error)
    else:
        assert engine == name and words in reason and bool(words) == bool(reason)


@pytest.mark.parametrize("units", ("", "AVX-512"))
def test_bfloat16_is_advised_against_where_the_processor_has_no_units_for_it(
    units, small_lmdb, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(engines, "bfloat16_units", lambda: units)
    monkeypatch.setattr(stages, "train", lambda *_: False)
    assert cli.main(["train", *train_words(small_lmdb, tmp_path / "run"), "--precision", "bfloat16"]) == 0
    assert ("float32 is faster" in capsys.readouterr().out) == (not units)


def test_gpu_numbers_are_read_from_a_device():
    assert [engines.gpus(device) for device in ("cpu", "cuda", "cuda:3", "cuda:0,2")] == [[], [0], [3], [0, 2]]


def test_a_caffe_that_fails_its_check_does_not_count_as_installed(tmp_path, monkeypatch):
    """Once a defect: its start scripts stayed, or replaced working ones, and the next training took them."""
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the start scripts would find the engine's caffe in it
    clone, build, target = tmp_path / "clone", tmp_path / "build", tmp_path / "clone/.caffe/bin"
    for folder in (clone, build / "bin", build / "python/caffe"):
        folder.mkdir(parents=True)
    for file in ("bin/caffe", "python/cv2.py", "python/lmdb.py"):
        (build / file).touch()
    (clone / "python_layers.py").touch()  # the start scripts find it in their clone

    def install(is_broken):
        (build / "python/caffe/__init__.py").write_text("raise ImportError('no protobuf')" * is_broken)
        install_caffe.install_here(root=build, target=target)

    with pytest.raises(install_caffe.InstallError, match="no protobuf"):
        install(is_broken=True)
    assert list(target.parent.iterdir()) == []
    install(is_broken=False)
    working = {script.name: script.read_text() for script in target.iterdir()}
    assert set(working) == {"caffe", "python"} and f'exec "{build}/bin/caffe"' in working["caffe"]
    build = build.rename(tmp_path / "other")
    with pytest.raises(install_caffe.InstallError, match="no protobuf"):
        install(is_broken=True)
    assert {script.name: script.read_text() for script in target.iterdir()} == working
    assert list(target.parent.iterdir()) == [target]


def test_bvlc_caffe_finds_its_packages_in_an_activated_environment(tmp_path):
    """Once a defect: its embedded Python took the environment's, so `. .venv/bin/activate` ended every training."""
    (tmp_path / "of_test.py").write_text(
        "import caffe, sys\n\nclass Layer(caffe.Layer):\n"
        "  def setup(self, bottom, top): print(sys.executable, flush=True)\n"
        "  def reshape(self, bottom, top): top[0].reshape(1)\n  def forward(self, bottom, top): pass\n"
        "  def backward(self, top, down, bottom): pass\n"
    )
    model = 'layer { name: "l" type: "Python" top: "t" python_param { module: "of_test" layer: "Layer" } }'
    (tmp_path / "net.prototxt").write_text(model)
    words = [engines.program("bvlc", "caffe"), "time", "-model", tmp_path / "net.prototxt", "-iterations", "1"]
    path = f"{REPOSITORY}/.venv/bin:{os.environ['PATH']}"
    told = subprocess.run(words, env={**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert told.returncode == 0 and b"/usr/bin/python3\n" in told.stdout, told.stderr[-2000:]
    assert str(REPOSITORY).encode() not in told.stdout


def test_bvlc_caffe_itself_answers_in_the_comparison(small_run, small_faces, cascade, monkeypatch):
    """Once the record's engine answered in its place, so that the engine was compared with itself."""
    monkeypatch.setenv(engines.STARTED, "bvlc")  # a command that goes on under another Python fails then
    pictures = [str(path) for path in sorted((small_faces / "img_align_celeba").glob("*.jpg"))[:2]]
    assert cascade("predict", "--run", small_run, "--aligned", "--no-pictures", *pictures)[0] == 0
    assert "largest difference among 4 probabilities" in demo.compare(runs.Run.read(small_run), pictures)
    ours, theirs = (demo.probabilities(small_run / name) for name in ("predictions", "predictions-bvlc"))
    assert len(ours) == 4 and ours == pytest.approx(theirs, abs=2e-3)


# Modules that a stranger's folder may hold: packages and modules of the project, of its libraries and of Python.
HOSTILE = ("tools/cli.py", "data_prep/__init__.py", "python_layers/__init__.py", "models/__init__.py")
HOSTILE += ("numpy.py", "json.py", "caffe.py", "torch.py", "lmdb.py", "cv2.py", "runpy.py")


@pytest.mark.parametrize("engine", (pytest.param("torch", marks=pytest.mark.slow), "bvlc"))
def test_nothing_of_a_strangers_folder_is_executed(engine, small_faces, tmp_path):
    """Of a data set, or a run. With BVLC Caffe, commands begin under one Python and go on under another."""
    folder = shutil.copytree(small_faces, tmp_path / "stranger")
    for path in (place / name for place in (folder, folder / "run") for name in HOSTILE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(folder / 'mark')!r}, 'a').write(__file__)\nraise SystemExit('a stranger runs')\n")
        path.with_name("__init__.py").touch()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for words in (
        "data . --out lmdb --attributes Eyeglasses,Male",
        "train region --run run --lmdb lmdb --width 1/16 --batch 2 --solver max_iter=1,test_interval=10 --restart "
        f"--caffe {engine}",
        "predict --run run --aligned --no-pictures img_align_celeba/000001.jpg",
    ):
        command = [str(REPOSITORY / ".venv/bin/face-cascade"), *words.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and not (folder / "mark").exists(), done.stdout[-500:] + done.stderr[-2000:]
