"""The one exception of the engine: where BVLC Caffe ends the process, this is raised."""


class CaffeError(RuntimeError):
    """Something a user can act on; the message is one line that names the layer, blob, field or file."""


def check(condition, message):
    """Raise CaffeError(message) unless the condition holds."""
    if not condition:
        raise CaffeError(message)
