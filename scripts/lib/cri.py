"""A small client of containerd's CRI plugin: pods and their containers, as kubelet makes them.

    pod = node.cri.run_pod("web", handler="shunt")
    container = node.cri.run_container(pod, "one", "sleep", "100")
    print(node.cri.exec(container, "hostname").stdout)
    node.cri.remove_pod(pod)

Messages are those of proto/cri.proto; `cri.messages` and `cri.runtime` give the raw interface.
"""

import os

from . import rpc
from .images import IMAGES
from .node import wait_until

NAMESPACE = "k8s.io"  # containerd's name for everything that CRI makes


class Pod:
    """node, id, config (PodSandboxConfig), log_directory."""

    def __init__(self, node, id, config):
        self.node = node
        self.id = id
        self.config = config
        self.log_directory = config.log_directory
        self.containers = []


class Container:
    """node, id, name, log_path on the node."""

    def __init__(self, node, id, name, log_path):
        self.node = node
        self.id = id
        self.name = name
        self.log_path = log_path

    def log(self):
        """[(stream, text)] of the container's log so far, lines put together."""
        lines, pending = [], ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, stream, tag, text = line.rstrip("\n").split(" ", 3)
                pending += text
                if tag == "F":
                    lines.append((stream, pending))
                    pending = ""
        return lines


class ExecResult:
    """stdout and stderr as text, exit_code."""

    def __init__(self, response):
        self.stdout = response.stdout.decode(errors="replace")
        self.stderr = response.stderr.decode(errors="replace")
        self.exit_code = response.exit_code


class Cri:
    def __init__(self, node):
        self._node = node
        self.messages = rpc.load("cri")
        self._channel = rpc.channel(node.address)
        self.runtime = rpc.Service(self._channel, self.messages, "RuntimeService")
        self.images = rpc.Service(self._channel, self.messages, "ImageService")
        self._pods = 0
        wait_until(self.ready, "CRI plugin that is ready", 20)
        self.image(IMAGES["pause"])

    def close(self):
        self._channel.close()

    def ready(self):
        """Whether the runtime and its network report ready."""
        import grpc

        try:
            status = self.runtime.Status(self.messages.StatusRequest(), timeout=5).status
        except grpc.RpcError:
            return False
        return all(condition.status for condition in status.conditions)

    def image(self, image="busybox"):
        """Imports an image for pods, waits until CRI knows it, returns its reference."""
        reference = self._node.image(image, namespace=NAMESPACE)
        request = self.messages.ImageStatusRequest()
        request.image.image = reference
        wait_until(lambda: self.images.ImageStatus(request, timeout=5).image.id,
                   f"image {reference} in CRI", 20)
        return reference

    def run_pod(self, name, handler="shunt", annotations=None, labels=None, host_network=False,
                share_processes=False, ports=(), timeout=60):
        """RunPodSandbox; returns a Pod. `ports` are (host, container) pairs, TCP. share_processes:
        one pid namespace for the pod's containers."""
        self._pods += 1
        config = self.messages.PodSandboxConfig()
        config.metadata.name = name
        config.metadata.namespace = "default"
        config.metadata.uid = f"{self._node.name}-{self._pods}"
        config.hostname = "" if host_network else name
        config.log_directory = os.path.join(self._node.dir, "pods", config.metadata.uid)
        config.dns_config.servers.append("198.18.255.53")
        config.annotations.update(annotations or {})
        config.labels.update(labels or {})
        config.linux.cgroup_parent = f"/{self._node.name}"
        options = config.linux.security_context.namespace_options
        options.pid = self.messages.POD if share_processes else self.messages.CONTAINER
        options.network = self.messages.NODE if host_network else self.messages.POD
        for host, container in ports:
            config.port_mappings.add(host_port=host, container_port=container)
        os.makedirs(config.log_directory, exist_ok=True)
        request = self.messages.RunPodSandboxRequest(config=config, runtime_handler=handler)
        response = self.runtime.RunPodSandbox(request, timeout=timeout)
        return Pod(self._node, response.pod_sandbox_id, config)

    def create_container(self, pod, name, *command, image="busybox", env=None, mounts=(),
                         annotations=None, tty=False, stdin=False, privileged=False,
                         seccomp="RuntimeDefault", user=None, memory=0, read_only=False,
                         timeout=60):
        """CreateContainer; returns a Container. `mounts` are (host path, container path) pairs,
        `seccomp` is RuntimeDefault, Unconfined or the path of a profile."""
        messages = self.messages
        config = messages.ContainerConfig(args=command, tty=tty, stdin=stdin)
        config.metadata.name = name
        config.image.image = self.image(image)
        config.log_path = f"{name}.log"
        for key, value in (env or {}).items():
            config.envs.add(key=key, value=value)
        for host, inside in mounts:
            config.mounts.add(host_path=host, container_path=inside)
        config.annotations.update(annotations or {})
        security = config.linux.security_context
        security.namespace_options.CopyFrom(
            pod.config.linux.security_context.namespace_options)
        security.privileged = privileged
        security.readonly_rootfs = read_only
        if user is not None:
            security.run_as_user.value = user
        if seccomp.startswith("/"):
            security.seccomp.profile_type = messages.SecurityProfile.Localhost
            security.seccomp.localhost_ref = f"localhost/{seccomp}"
        else:
            security.seccomp.profile_type = messages.SecurityProfile.ProfileType.Value(seccomp)
        config.linux.resources.memory_limit_in_bytes = memory
        request = messages.CreateContainerRequest(
            pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
        id = self.runtime.CreateContainer(request, timeout=timeout).container_id
        container = Container(
            self._node, id, name, os.path.join(pod.log_directory, config.log_path))
        pod.containers.append(container)
        return container

    def start_container(self, container, timeout=60):
        self.runtime.StartContainer(
            self.messages.StartContainerRequest(container_id=container.id), timeout=timeout)

    def run_container(self, pod, name, *command, **kwargs):
        """create_container and start_container."""
        container = self.create_container(pod, name, *command, **kwargs)
        self.start_container(container)
        return container

    def exec(self, container, *command, timeout=60):
        """ExecSync; `timeout` in whole seconds is enforced by containerd."""
        request = self.messages.ExecSyncRequest(
            container_id=container.id, cmd=command, timeout=timeout)
        return ExecResult(self.runtime.ExecSync(request, timeout=timeout + 30))

    def status(self, container):
        request = self.messages.ContainerStatusRequest(container_id=container.id)
        return self.runtime.ContainerStatus(request, timeout=20).status

    def wait_exit(self, container, timeout=30):
        """Waits until CRI reports the container as exited; returns its status."""
        def exited():
            status = self.status(container)
            return status if status.state == self.messages.CONTAINER_EXITED else None

        return wait_until(exited, f"exit of {container.name}", timeout)

    def stats(self, container):
        request = self.messages.ContainerStatsRequest(container_id=container.id)
        return self.runtime.ContainerStats(request, timeout=20).stats

    def stop_container(self, container, grace=2, timeout=60):
        request = self.messages.StopContainerRequest(container_id=container.id, timeout=grace)
        self.runtime.StopContainer(request, timeout=timeout)

    def remove_container(self, container, timeout=60):
        request = self.messages.RemoveContainerRequest(container_id=container.id)
        self.runtime.RemoveContainer(request, timeout=timeout)

    def list_containers(self):
        return self.runtime.ListContainers(
            self.messages.ListContainersRequest(), timeout=20).containers

    def pod_status(self, pod, verbose=False):
        request = self.messages.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=verbose)
        return self.runtime.PodSandboxStatus(request, timeout=20)

    def pod_address(self, pod):
        """The pod's own address, as the CNI gave it."""
        return self.pod_status(pod).status.network.ip

    def pid(self, container_or_pod):
        """Pid of the first process of a container or of a pod's sandbox."""
        return self._node.tasks(namespace=NAMESPACE)[container_or_pod.id][0]

    def stop_pod(self, pod, timeout=60):
        request = self.messages.StopPodSandboxRequest(pod_sandbox_id=pod.id)
        self.runtime.StopPodSandbox(request, timeout=timeout)

    def remove_pod(self, pod, timeout=60):
        """Stops and removes the pod and everything in it."""
        self.stop_pod(pod, timeout)
        request = self.messages.RemovePodSandboxRequest(pod_sandbox_id=pod.id)
        self.runtime.RemovePodSandbox(request, timeout=timeout)
