"""The descriptor of the server's messages, its source, the server's own messages, and those of tritonclient."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from tritonclient.grpc import model_config_pb2, service_pb2

SOURCES = Path(__file__).parents[2] / "src/serve/grpc"

# Messages of one form are one struct in the server, which has a name of its own. Others have the protocol's.
STRUCTS = {
    "Empty": [
        "ServerLiveRequest",
        "ServerReadyRequest",
        "ServerMetadataRequest",
        "RepositoryModelLoadResponse",
        "RepositoryModelUnloadResponse",
    ],
    "ReadyResponse": ["ServerReadyResponse", "ModelReadyResponse"],
    "ModelRequest": ["ModelReadyRequest", "ModelMetadataRequest", "ModelConfigRequest", "ModelStatisticsRequest"],
    "TensorMetadata": ["ModelMetadataResponse.TensorMetadata"],
    "InferInputTensor": ["ModelInferRequest.InferInputTensor"],
    "InferRequestedOutputTensor": ["ModelInferRequest.InferRequestedOutputTensor"],
    "InferOutputTensor": ["ModelInferResponse.InferOutputTensor"],
    "ModelIndex": ["RepositoryIndexResponse.ModelIndex"],
    "RepositoryModelRequest": ["RepositoryModelLoadRequest", "RepositoryModelUnloadRequest"],
    "ParameterChoice": ["InferParameter"],
    "RepositoryParameterChoice": ["ModelRepositoryParameter"],
}


def described(sources=SOURCES):
    """The descriptor that the server is built with and shows by reflection."""
    return descriptor_pb2.FileDescriptorSet.FromString(Path(sources, "inference.bin").read_bytes())


def of_its_source(_, sources=SOURCES):
    """inference.proto, compiled by grpcio-tools, is inference.bin, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "inference.bin")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{sources}", f"--descriptor_set_out={out}"]
        subprocess.run([*command, "inference.proto"], check=True, timeout=60)
        is_same = out.read_bytes() == Path(sources, "inference.bin").read_bytes()
    assert is_same, "inference.bin is not inference.proto, compiled"


def of_tritonclient(_, sources=SOURCES):
    """Every message, field, enumeration and method of the descriptor is one of tritonclient's, with its number."""
    ours = _flat(described(sources).file)
    files = [service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR]
    theirs = _flat([descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb) for file in files])
    assert len(ours) > 150, f"{len(ours)} names in the descriptor"
    faults = []
    for name, what in ours.items():
        other = theirs.get(name, (None,))
        # A field that stands alone here may be one of several there: that changes nothing of what it looks like.
        if what != other and (what[-1] is not None or what[:-1] != other[:-1]):
            faults.append(f"{name} is {what}, tritonclient has {other}")
    assert not faults, "\n".join(faults)


def _flat(files):
    """By its full name, what goes over the wire of each message, field, enumeration's value and method."""
    found = {}
    for file in files:
        for message in file.message_type:
            _add_message(found, f"{file.package}.{message.name}", message)
        for enum in file.enum_type:
            _add_enum(found, f"{file.package}.{enum.name}", enum)
        for service in file.service:
            for method in service.method:
                streams = (method.client_streaming, method.server_streaming)
                name = f"{file.package}.{service.name}/{method.name}"
                found[name] = ("method", method.input_type, method.output_type, *streams)
    return found


def _add_message(found, name, message):
    found[name] = ("message", message.options.map_entry)
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        found[f"{name}.{field.name}"] = (
            field.number,
            FieldDescriptorProto.Type.Name(field.type),
            FieldDescriptorProto.Label.Name(field.label),
            field.type_name,
            oneof,
        )
    for nested in message.nested_type:
        _add_message(found, f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        _add_enum(found, f"{name}.{enum.name}", enum)


def _add_enum(found, name, enum):
    for value in enum.value:
        found[f"{name}.{value.name}"] = ("value", value.number)


def of_the_server(_, sources=SOURCES):
    """Every field of the server's own messages has the number, type and label that the descriptor has."""
    expected = _flat(described(sources).file)
    found, used = {}, set()
    for struct, fields in _structs(Path(sources, "messages.rs").read_text()):
        for message in STRUCTS.get(struct, [struct]):
            assert f"inference.{message}" in expected, f"messages.rs has {struct}: no message {message}"
            used.add(f"inference.{message}")
            for field, what in fields.items():
                found[f"inference.{message}.{field}"] = what
    assert len(found) > 100, f"{len(found)} fields in messages.rs"
    faults = []
    for name, what in found.items():
        number, kind, label, *_ = expected.get(name, [None] * 3)
        if what != (number, kind, label):
            faults.append(f"messages.rs: {name} is {what}, the descriptor has {(number, kind, label)}")
    assert not faults, "\n".join(faults)


def _structs(text):
    """The messages of a Rust source, and for each field its number, type and label."""
    for found in re.finditer(r"^pub (?:struct|enum) (\w+) \{(.*?)\}$", text, re.M | re.S):
        name, body = found.groups()
        if re.search(r"^\s+\w+ = \d+,$", body, re.M):
            continue
        fields = re.findall(r"#\[prost\((.*?)\)\]\s+(?:pub )?(?:r#)?(\w+)", body)
        assert len(fields) == len(re.findall(r"#\[prost", body)), f"{name} is not understood"
        # A oneof has its fields in an enumeration of its own.
        own = [(attributes, field) for attributes, field in fields if not attributes.startswith("oneof")]
        yield name, {_field_name(field): _field(attributes) for attributes, field in own}


def _field_name(name):
    """A field's name. A variant's, as Bool or BoolParam, is that of the field bool_param."""
    if name[0].islower():
        return name
    return name.lower().removesuffix("param") + "_param"


def _field(attributes):
    """Number, type and label of a field from its attribute: `int64, repeated, tag = "3"`."""
    kind = re.match(r"\w+", attributes).group()
    number = int(re.search(r'tag = "(\d+)"', attributes).group(1))
    is_repeated = kind == "map" or re.search(r"\brepeated\b", attributes)
    types = {"enumeration": "ENUM", "map": "MESSAGE"}
    return (number, f"TYPE_{types.get(kind, kind.upper())}", f"LABEL_{'REPEATED' if is_repeated else 'OPTIONAL'}")
