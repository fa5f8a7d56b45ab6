"""Layers and their parameters in files of weights, binary .caffemodel or HDF5; needs no PyTorch."""

from . import hdf5, wire


def read(path):
    """The layers of a file of weights of either format: list of (name, arrays). Raises CaffeError.

    In HDF5 a blob that is shared is only where its owner is; elsewhere it is None, or left out at the end.
    """
    path = str(path)
    return hdf5.read_layers(path) if hdf5.is_hdf5(path) else wire.read_weights(path)


def same_shape(found, wanted):
    """Whether a stored shape fits; one of 4 axes may be that of old files, padded with ones in front."""
    found, wanted = tuple(found), tuple(wanted)
    if len(found) == 4 and len(wanted) < 4:
        return found == (1,) * (4 - len(wanted)) + wanted
    return found == wanted
