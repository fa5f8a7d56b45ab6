"""Small helpers for sizes and tensors."""


def product(sizes):
    """The product of sizes, 1 for none."""
    total = 1
    for size in sizes:
        total *= size
    return total


def like(tensor, other):
    """`tensor` with the sizes of `other`, whose elements lie in the same order."""
    return tensor if tensor.shape == other.shape else tensor.reshape(other.shape)


def is_dense(tensor):
    """Whether the tensor's elements fill one piece of memory, each in a place of its own."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected = stride * size
    return True
