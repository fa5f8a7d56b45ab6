#!/bin/sh
# Written by tools/install/install_caffe.py: @PROGRAM@ with this repository's Python layers found.
repository=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$repository${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE="${PYTHONDONTWRITEBYTECODE-1}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-$(nproc)}"
# OpenBLAS 0.3.13 does not know processors made after it and falls back to its slowest kernels.
if [ -z "${OPENBLAS_CORETYPE:-}" ] && grep -qm1 avx2 /proc/cpuinfo; then
  export OPENBLAS_CORETYPE=Haswell
fi
# Before BVLC Caffe aborts with a stack trace: one line where a solver, its data or its first weights do not fit.
# The engine's Python starts faster, where it is installed.
if [ "$(basename "$0") ${1:-}" = "caffe train" ]; then
  python="$repository/.venv/bin/python"
  [ -x "$python" ] || python="$(dirname "$0")/python"
  (unset PYTHONHOME PYTHONPATH; exec "$python" "$repository/data_prep/start.py" tools.train.before "$@") || exit 1
fi
@SETTINGS@
exec "@PROGRAM@" "$@"
