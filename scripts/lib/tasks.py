"""containerd's task service called directly: exact status codes, and what ctr has no command for.

    tasks = node.task_service
    tasks.exec("c", "x1", ["sleep", "1"])
    waiting = tasks.wait_later("c", "x1")
    tasks.call("Start", container_id="c", exec_id="x1")
    print(waiting.result().exit_status)
"""

import json

from . import rpc

_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/"


class TaskError(Exception):
    """A call failed: `code` is the gRPC name (NOT_FOUND ...), `message` containerd's text."""

    def __init__(self, method, error):
        self.code = error.code().name
        self.message = error.details()
        super().__init__(f"{method}: {self.code}: {self.message}")


class Tasks:
    def __init__(self, node):
        self._node = node
        self.messages = rpc.load("tasks")
        self._channel = rpc.channel(node.address)
        self._service = rpc.Service(self._channel, self.messages, "Tasks")
        methods = self.messages.DESCRIPTOR.services_by_name["Tasks"].methods
        self._inputs = {method.name: method.input_type.name for method in methods}

    def close(self):
        self._channel.close()

    def _request(self, method, fields):
        return getattr(self.messages, self._inputs[method])(**fields)

    def _metadata(self):
        return (("containerd-namespace", self._node.name),)

    def call(self, method, timeout=20, **fields):
        """Calls a method with the request's fields; returns the response or raises TaskError."""
        import grpc

        try:
            return getattr(self._service, method)(
                self._request(method, fields), timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise TaskError(method, error) from None

    def later(self, method, timeout=60, **fields):
        """Starts a call; the gRPC future has result() and cancel()."""
        return getattr(self._service, method).future(
            self._request(method, fields), timeout=timeout, metadata=self._metadata())

    def wait_later(self, container, exec_id="", timeout=60):
        return self.later("Wait", timeout, container_id=container, exec_id=exec_id)

    def create(self, container, **fields):
        """Creates the task of a container made with `ctr container create`; it is not started."""
        request = self._request("Create", {"container_id": container, **fields})
        request.rootfs.add(**self._node.root_mount(container))
        return self._send("Create", request)

    def exec(self, container, exec_id, args, stdin="", stdout="", stderr="", terminal=False,
             **process):
        """Registers an exec (it is started with Start). `process` are further members of the OCI
        process object."""
        spec = {"args": list(args), "cwd": "/", "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "terminal": terminal, "user": {"uid": 0, "gid": 0}, **process}
        request = self._request("Exec", {
            "container_id": container, "exec_id": exec_id, "stdin": stdin, "stdout": stdout,
            "stderr": stderr, "terminal": terminal})
        request.spec.type_url = _SPEC + "Process"
        request.spec.value = json.dumps(spec).encode()
        return self._send("Exec", request)

    def update(self, container, resources):
        """Update with an OCI LinuxResources object."""
        request = self._request("Update", {"container_id": container})
        request.resources.type_url = _SPEC + "LinuxResources"
        request.resources.value = json.dumps(resources).encode()
        return self._send("Update", request)

    def _send(self, method, request):
        import grpc

        try:
            return getattr(self._service, method)(request, timeout=20, metadata=self._metadata())
        except grpc.RpcError as error:
            raise TaskError(method, error) from None

    def status(self, container, exec_id=""):
        """CREATED, RUNNING, STOPPED, PAUSED ..."""
        process = self.call("Get", container_id=container, exec_id=exec_id).process
        return self.messages.Status.Name(process.status)
