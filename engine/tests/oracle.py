"""Calls functions of the tests in a real Caffe: .caffe/bin/python engine/tests/oracle.py FOLDER

For every line of standard input it reads call.npz in FOLDER: the source and the name of a function, and its arguments.
The function runs in a process of its own, for a failed CHECK ends it; then result.npz holds what it returned, and a
line says `ok`, or `failed` with the reason in the file stderr.
"""

import json
import os
import sys
import traceback

import caffe
import numpy as np


def pack(path, values):
    """Write a dict of arrays and of what JSON holds."""
    others = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    arrays = {name: value for name, value in values.items() if name not in others}
    np.savez(path, json=np.array(json.dumps(others)), **arrays)


def unpack(path):
    """Read what `pack` has written."""
    with np.load(path) as file:
        values = dict(file)
    return {**json.loads(str(values.pop("json"))), **values}


def call(folder):
    words = unpack(os.path.join(folder, "call.npz"))
    space = {"caffe": caffe, "np": np}
    exec(compile(words.pop("source"), words["name"], "exec"), space)
    pack(os.path.join(folder, "result.npz"), space[words.pop("name")](**words))


def main(folder):
    for _ in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                error = os.open(os.path.join(folder, "stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(error, 2)
                call(folder)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print("failed" if os.waitpid(child, 0)[1] else "ok", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
