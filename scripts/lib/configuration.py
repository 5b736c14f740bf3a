"""What a node's containerd and its CNI are told."""

import json
import os

from .images import IMAGES

RUNC = "io.containerd.runc.v2"
SHUNT = "io.containerd.shunt.v2"


def write(folder, subnet, mtu=None):
    """Writes config.toml and cni/ for a node in `folder`."""
    cni = os.path.join(folder, "cni")
    os.mkdir(cni)
    bridge = {
        "cniVersion": "0.4.0",
        "name": "shunt",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": os.path.join(folder, "ipam"),
                    "ranges": [[{"subnet": subnet}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    if mtu:
        bridge["plugins"][0]["mtu"] = mtu
    with open(os.path.join(cni, "10-shunt.conflist"), "w", encoding="utf-8") as file:
        json.dump(bridge, file)
    with open(os.path.join(folder, "config.toml"), "w", encoding="utf-8") as file:
        file.write(_CONTAINERD.format(dir=folder, pause=IMAGES["pause"].reference,
                                      shunt=SHUNT, runc=RUNC))


# restrict_oom_score_adj: without CAP_SYS_RESOURCE a score cannot be lowered, and pause's is -998.
_CONTAINERD = """\
version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{dir}/c.sock"
[debug]
  level = "info"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "{runc}"
      pod_annotations = ["shunt.io/*"]
      container_annotations = ["shunt.io/*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.shunt]
      runtime_type = "{shunt}"
      pod_annotations = ["shunt.io/*"]
      container_annotations = ["shunt.io/*"]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.shunt.options]
        ConfigPath = "{dir}/shunt.yaml"
"""
