"""Which Caffe a command runs on."""

import pytest

from tools.errors import ToolError
from tools.install import engines, install_caffe


@pytest.mark.parametrize(
    "wanted, device, precision, obstacle, name, words",
    [
        ("torch", "cpu", "float32", None, "torch", ""),
        ("bvlc", "cpu", "float32", "ignored", "bvlc", ""),
        ("auto", "cpu", "float32", None, "bvlc", "reference"),
        ("auto", "cuda", "float32", None, "torch", "GPU is asked for"),
        ("auto", "cuda:0,1", "float32", None, "torch", "GPU is asked for"),
        ("auto", "cpu", "bfloat16", None, "torch", "bfloat16 is asked for"),
        ("auto", "cpu", "float32", "this is Darwin on arm64", "torch", "Darwin"),
    ],
)
def test_the_caffe_is_chosen_for_the_stated_reason(wanted, device, precision, obstacle, name, words, monkeypatch):
    monkeypatch.setattr(engines, "obstacle", lambda: obstacle)
    engine, reason = engines.choose(wanted, device, precision)
    assert engine == name and words in reason and bool(words) == bool(reason)


@pytest.mark.parametrize(
    "wanted, device, precision, words",
    [
        ("caffe2", "cpu", "float32", "unknown Caffe 'caffe2'; choose one of auto, bvlc, torch"),
        ("bvlc", "cuda:0", "float32", "is a build for the CPU and cannot use cuda:0"),
        ("bvlc", "cpu", "bfloat16", "computes in float32 only, not bfloat16"),
    ],
)
def test_an_impossible_choice_is_refused_with_the_remedy(wanted, device, precision, words):
    with pytest.raises(ToolError, match=words):
        engines.choose(wanted, device, precision)


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
