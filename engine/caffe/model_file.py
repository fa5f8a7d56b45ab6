"""Reading files of weights, binary .caffemodel or HDF5, without PyTorch."""

from . import hdf5, wire


def read(path):
    """The layers in a file of weights of either format: list of (name, list of arrays). Raises CaffeError.

    HDF5 files store a shared blob only at its owner. At other layers it is None, or missing at the end of the list.
    """
    path = str(path)
    return hdf5.read_layers(path) if hdf5.is_hdf5(path) else wire.read_weights(path)


def same_shape(found, wanted):
    """Whether a stored shape is the wanted one, or in the old form of four axes, padded with ones in front."""
    found, wanted = tuple(found), tuple(wanted)
    if len(found) == 4 and len(wanted) < 4:
        return found == (1,) * (4 - len(wanted)) + wanted
    return found == wanted
