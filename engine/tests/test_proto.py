"""The engine's schema is Caffe's: every message, field, number, type, default and enum value."""

from caffe.proto import caffe_pb2

DESCRIBE = """
def describe(message, prefix=""):
    name = prefix + message.name
    found = {}
    for field in message.fields:
        default = field.default_value if field.has_default_value else None
        kind = (field.message_type or field.enum_type).full_name if field.type in (11, 14) else field.type
        try:
            label = 2 if field.is_required else 3 if field.is_repeated else 1
        except AttributeError:
            label = field.label
        packed = field.GetOptions().packed
        found[f"{name}.{field.name}"] = [field.number, kind, label, default, packed]
    for enum in message.enum_types:
        found[f"{name}.{enum.name}"] = sorted((value.name, value.number) for value in enum.values)
    for nested in message.nested_types:
        found.update(describe(nested, name + "."))
    return found


def schema(caffe_pb2):
    found = {"Phase": sorted((v.name, v.number) for v in caffe_pb2.DESCRIPTOR.enum_types_by_name["Phase"].values)}
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values():
        found.update(describe(message))
    return found
"""


def plain(found):
    return {key: [list(v) if isinstance(v, tuple) else v for v in value] for key, value in found.items()}


def test_schema_is_that_of_a_real_caffe(bvlc):
    _, theirs = bvlc.code(DESCRIBE + "\nfrom caffe.proto import caffe_pb2\nfacts.update(schema(caffe_pb2))")
    space = {}
    exec(DESCRIBE, space)
    ours = plain(space["schema"](caffe_pb2))
    assert ours.keys() == theirs.keys()
    different = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert not different
    assert len(ours) > 400
