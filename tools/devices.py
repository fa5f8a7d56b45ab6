"""The one device setting of the tools: cpu, cuda, or cuda:N."""

import re

import caffe

from tools.errors import ToolError


def use_device(device):
    """Let nets that are made from now on compute on a device: "cpu", "cuda" or "cuda:N".

    Raises ToolError where the Caffe at hand or the machine cannot.
    """
    parts = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", str(device))
    if not parts:
        raise ToolError(f"device {device!r}: give cpu, cuda, or cuda:N with the number of the GPU")
    if device == "cpu":
        caffe.set_mode_cpu()
        return
    if hasattr(caffe, "_caffe"):
        raise ToolError(
            f"device {device}: this BVLC Caffe computes on the CPU only; give cpu, or use the engine (torch)"
        )
    try:
        caffe.set_device(int(parts[1] or 0))
        caffe.set_mode_gpu()
    except caffe.CaffeError as error:
        raise ToolError(f"device {device}: {error}; give cpu, or the number of a GPU of this machine")
