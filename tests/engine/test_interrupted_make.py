"""Ctrl-C in `make train-region` with the engine, and going on."""

import os
import re
import signal
import subprocess

from parity import REPOSITORY

from data_prep.build import build_lmdb
from data_prep.synthetic import synthetic_faces
from tools.train import caffe_log


def test_ctrl_c_in_make_leaves_a_snapshot_and_its_command_goes_on(tmp_path):
    """Ctrl-C reaches make, the Caffe, tee and the progress at once: the signal goes to their process group."""
    synthetic_faces.generate(tmp_path / "faces", 40, 3, {"Eyeglasses": 0.5}, workers=1)
    words = ["--out", str(tmp_path / "lmdb"), "--attributes", "Eyeglasses", "--records", "8"]
    assert build_lmdb.main([str(tmp_path / "faces"), *words]) == 0
    settings = [f"LMDB={tmp_path / 'lmdb'}", f"RUN={tmp_path / 'run'}", "CAFFE=torch", "BATCH=2"]
    solver = "SOLVER=display=1,test_interval=100000,max_iter="
    make = ["make", "--no-print-directory", "train-region", *settings]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "GLOG"))}
    options = {"stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY, "env": environment}
    process = subprocess.Popen([*make, f"{solver}1000"], start_new_session=True, **options)
    shown = ""
    for line in process.stderr:
        shown += line
        if "3/1000" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    shown += process.communicate(timeout=120)[1]
    (state,) = (tmp_path / "run/region").glob("*.solverstate")
    assert f'TRAIN="-snapshot {state}" goes on' in shown and "Traceback" not in shown, shown
    stopped = int(re.search(r"iter_(\d+)", state.name)[1])
    resume = [*make, f"{solver}{stopped + 2}", f"TRAIN=-snapshot {state}"]
    done = subprocess.run(resume, **options)
    assert done.returncode == 0 and (tmp_path / f"run/region/region_iter_{stopped + 2}.caffemodel").exists()
    # One log tells of both.
    losses = caffe_log.read((tmp_path / "run/region/train.log").read_text().splitlines())["train", "loss"]
    assert [iteration for iteration, _ in losses] == list(range(stopped + 3))
