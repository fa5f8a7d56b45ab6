"""Helper functions for sizes and tensors."""


def product(sizes):
    """The product of sizes (or tensors), 1 if there are none."""
    total = 1
    for size in sizes:
        total *= size
    return total


def like(tensor, other):
    """`tensor` in the shape of `other`, which has as many elements."""
    return tensor if tensor.shape == other.shape else tensor.reshape(other.shape)


def is_dense(tensor):
    """Whether the elements occupy one contiguous block of memory without gaps or overlaps, in any order of the axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected = stride * size
    return True
