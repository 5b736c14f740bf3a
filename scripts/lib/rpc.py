"""gRPC without generated stubs: protoc makes the messages when needed, services are read from them.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile

from . import paths

_PROTO = os.path.join(os.path.dirname(os.path.realpath(__file__)), "proto")


def load(name):
    """The Python module for proto/NAME.proto, generated once for its content."""
    module_name = f"{name}_pb2"
    if module_name in sys.modules:
        return sys.modules[module_name]
    source = os.path.join(_PROTO, f"{name}.proto")
    with open(source, "rb") as file:
        key = hashlib.sha256(file.read()).hexdigest()[:24]
    folder = os.path.join(paths.cache_dir("proto"), key)
    if not os.path.isdir(folder):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
            out = os.path.join(work, "out")
            os.mkdir(out)
            subprocess.run(
                [paths.tool("protoc"), "-I", _PROTO, f"--python_out={out}", source], check=True
            )
            try:
                os.rename(out, folder)
            except OSError:  # another process was faster
                pass
    spec = importlib.util.spec_from_file_location(
        module_name, os.path.join(folder, f"{module_name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def channel(path):
    """A channel to a gRPC server on a unix socket."""
    import grpc  # costs a fifth of a second; only who needs it pays

    return grpc.insecure_channel(
        f"unix:{path}", options=[("grpc.default_authority", "localhost"),
                                 ("grpc.max_receive_message_length", 16 << 20)]
    )


class Service:
    """Methods of a service as plain callables: service.RunPodSandbox(request, timeout=...)."""

    def __init__(self, grpc_channel, module, name):
        descriptor = module.DESCRIPTOR.services_by_name[name]
        for method in descriptor.methods:
            make = grpc_channel.unary_stream if method.name == "Subscribe" else (
                grpc_channel.unary_unary)
            call = make(
                f"/{descriptor.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=_class_of(method.output_type).FromString,
            )
            setattr(self, method.name, call)


def _class_of(descriptor):
    from google.protobuf import message_factory

    return message_factory.MessageFactory().GetPrototype(descriptor)
