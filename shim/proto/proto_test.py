#!/usr/bin/python3
"""Compares the messages of this folder with containerd's own, as Debian ships them: every field of
ours must have there the same number, wire type and label. Fields may be missing here, never differ."""

import os
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2 as pb

GO = "/usr/share/gocode/src"
CONTAINERD = "github.com/containerd/containerd"
# Our message -> theirs, by file.
THEIRS = {
    f"{CONTAINERD}/runtime/v2/task/shim.proto": ("containerd.task.v2", ["task.proto"]),
    f"{CONTAINERD}/api/events/task.proto": ("containerd.events", ["events.proto"]),
    f"{CONTAINERD}/api/services/ttrpc/events/v1/events.proto": (
        "containerd.services.events.ttrpc.v1", ["events.proto"]),
    f"{CONTAINERD}/runtime/v2/runc/options/oci.proto": ("containerd.runc.v1", ["options.proto"]),
    f"{CONTAINERD}/pkg/runtimeoptions/v1/api.proto": ("runtimeoptions.v1", ["options.proto"]),
    f"{CONTAINERD}/api/types/mount.proto": ("containerd.types", ["types.proto"]),
    "github.com/containerd/cgroups/stats/v1/metrics.proto": ("io.containerd.cgroups.v1", ["metrics_v1.proto"]),
    "github.com/containerd/cgroups/v2/stats/metrics.proto": ("io.containerd.cgroups.v2", ["metrics_v2.proto"]),
}
# Names that differ: two packages of containerd's are one of ours.
RENAMED = {("containerd.runc.v1", "Options"): "RuncOptions", ("runtimeoptions.v1", "Options"): "RuntimeOptions"}


def descriptors(include, files):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", *(f"-I{path}" for path in include), "--include_imports",
                        f"--descriptor_set_out={out.name}", *files], check=True, stderr=subprocess.PIPE)
        return pb.FileDescriptorSet.FromString(out.read()).file


def messages(files):
    return {(file.package, message.name): message for file in files for message in file.message_type}


def shape(field):
    kind = field.type
    if kind == pb.FieldDescriptorProto.TYPE_ENUM:
        kind = pb.FieldDescriptorProto.TYPE_INT32  # the same on the wire
    return kind, field.label


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    if not os.path.exists(f"{GO}/{CONTAINERD}"):
        print("containerd's .proto files are not installed; run scripts/deps")
        return 77
    # The .proto files say gogoproto/gogo.proto and "weak": both lie in these roots.
    include = [GO, f"{GO}/github.com/gogo/protobuf", f"{GO}/github.com/gogo/protobuf/protobuf"]
    theirs = {}
    for path in THEIRS:
        theirs.update(messages(descriptors(include, [f"{GO}/{path}"])))
    compared = 0
    problems = []
    for path, (package, ours_in) in THEIRS.items():
        ours = messages(descriptors([root], [f"shim/proto/{name}" for name in ours_in]))
        by_name = {name: message for (_, name), message in ours.items()}
        for (their_package, name), message in theirs.items():
            mine = by_name.get(RENAMED.get((their_package, name), name))
            if their_package != package or mine is None or (name == "Options" and mine.name == "Options"):
                continue
            fields = {field.number: field for field in message.field}
            for field in mine.field:
                other = fields.get(field.number)
                compared += 1
                if other is None:
                    if (mine.name, field.name) != ("RuntimeOptions", "config_body"):  # containerd 1.7
                        problems.append(f"{mine.name}.{field.name} = {field.number}: containerd has no such field")
                elif shape(field) != shape(other):
                    problems.append(f"{mine.name}.{field.name} = {field.number}: differs from {other.name}")
    print(f"{compared} fields compared, {len(problems)} differ")
    print("\n".join(problems))
    return 1 if problems or compared < 250 else 0


sys.exit(main())
