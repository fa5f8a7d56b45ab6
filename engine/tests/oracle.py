"""The other side of the parity tests, on a real Caffe: .caffe/bin/python engine/tests/oracle.py

Reads a folder's name per line from standard input; in it lie net.prototxt and case.json, which says what to do. Every
case runs in a process of its own, for a failed CHECK ends it; then a line says `ok`, or `failed` with the reason in the
folder's file stderr. What was computed is in result.npz.
"""

import json
import os
import sys

import caffe
import numpy as np


def fill(net, folder):
    for name, array in np.load(os.path.join(folder, "inputs.npz")).items():
        net.blobs[name].data[...] = array


def run_net(folder, case):
    """Forward, and backward from random diffs of the outputs; everything that is in the net afterwards."""
    net = caffe.Net(os.path.join(folder, "net.prototxt"), case["phase"])
    if case.get("weights"):
        net.copy_from(case["weights"])
    result = {}
    rng = np.random.RandomState(case["seed"])
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            if case.get("random_params"):
                blob.data[...] = rng.normal(scale=case["random_params"], size=blob.data.shape)
            result[f"param/{name}/{index}"] = blob.data.copy()
    fill(net, folder)
    for _ in range(case.get("passes", 1) - 1):
        net.forward()
    # The last pass, layer by layer: what a later layer overwrites in place is kept before.
    names, tops = list(net._layer_names), dict(net.top_names)
    for index, layer in enumerate(names):
        net._forward(index, index)
        later = {name for other in names[index + 1 :] for name in tops[other]}
        for name in set(tops[layer]) & later:
            result[f"step/{index}/{name}"] = net.blobs[name].data.copy()
    for name, blob in net.blobs.items():
        result["data/" + name] = blob.data.copy()
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            result[f"after/{name}/{index}"] = blob.data.copy()
    if case.get("backward"):
        if case["backward"] == "outputs":
            for name in net.outputs:
                diff = rng.normal(size=net.blobs[name].data.shape).astype(np.float32)
                net.blobs[name].diff[...] = diff
                result["top/" + name] = diff
        net.clear_param_diffs()
        net.backward()
        for name, blob in net.blobs.items():
            result["diff/" + name] = blob.diff.copy()
        for name, blobs in net.params.items():
            for index, blob in enumerate(blobs):
                result[f"gradient/{name}/{index}"] = blob.diff.copy()
    names = {
        "layers": list(net._layer_names),
        "blobs": list(net.blobs),
        "outputs": list(net.outputs),
        "inputs": list(net.inputs),
        "bottoms": {name: list(found) for name, found in net.bottom_names.items()},
        "tops": {name: list(found) for name, found in net.top_names.items()},
        "loss_weights": {name: float(value) for name, value in net.blob_loss_weights.items()},
    }
    with open(os.path.join(folder, "names.json"), "w") as file:
        json.dump(names, file)
    np.savez(os.path.join(folder, "result.npz"), **result)


def run_solver(folder, case):
    """Some steps of a solver from given weights or a given state: losses, weights, a snapshot."""
    solver = caffe.get_solver(os.path.join(folder, "solver.prototxt"))
    if case.get("weights"):
        solver.net.copy_from(case["weights"])
    if case.get("state"):
        solver.restore(case["state"])
    if case.get("save_first"):
        solver.net.save(case["save_first"])
    losses, rates = [], []
    for _ in range(case["steps"]):
        rates.append(solver.lr if hasattr(solver, "lr") else 0)
        solver.step(1)
        losses.append([float(solver.net.blobs[name].data.ravel()[0]) for name in case["losses"]])
    result = {"losses": np.array(losses), "rates": np.array(rates), "iter": np.array(solver.iter)}
    for name, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            result[f"param/{name}/{index}"] = blob.data.copy()
            result[f"update/{name}/{index}"] = blob.diff.copy()
    if case.get("snapshot"):
        solver.snapshot()
    np.savez(os.path.join(folder, "result.npz"), **result)


def run_code(folder, case):
    """Any Python, which leaves arrays in `result` and what JSON holds in `facts`."""
    space = {"caffe": caffe, "np": np, "folder": folder, "result": {}, "facts": {}, "case": case}
    exec(compile(case["code"], "case", "exec"), space)
    np.savez(os.path.join(folder, "result.npz"), **space["result"])
    with open(os.path.join(folder, "facts.json"), "w") as file:
        json.dump(space["facts"], file)


KINDS = {"net": run_net, "solver": run_solver, "code": run_code}


def main():
    for line in iter(sys.stdin.readline, ""):
        folder = line.strip()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                error = os.open(os.path.join(folder, "stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(error, 2)
                with open(os.path.join(folder, "case.json")) as file:
                    case = json.load(file)
                KINDS[case["kind"]](folder, case)
                code = 0
            except Exception:
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print("ok" if status == 0 else "failed", flush=True)


if __name__ == "__main__":
    main()
