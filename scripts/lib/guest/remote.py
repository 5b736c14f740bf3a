#!/usr/bin/python3
"""A Node in a guest, used from outside as if it were here.

    with Guests(2) as (one, two), RemoteNode(one, subnet="198.18.1.0/24") as node:
        pod = node.cri.run_pod("web")
        node.execute(["ip", "address"]).stdout

This file is both sides: started in the guest it makes the node and carries out calls, one at a time,
pickled over its standard input and output. What cannot travel (pods, containers) stays there; outside
it is a Handle.
"""

import os
import pickle
import struct
import sys
import threading

if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))

from lib import Node  # noqa: E402
from lib.cri import Container, Pod  # noqa: E402
from lib.guest.guests import GuestError  # noqa: E402
from lib.images import ARCHIVES  # noqa: E402

_LENGTH = struct.Struct("!I")
_STAYS = (Pod, Container)


class Handle:
    """Something that stayed in the guest; `id` is what it is called there, and outside `node` its node."""

    node = None

    def __init__(self, number, id):
        self.number = number
        self.id = id

    def __reduce__(self):
        return Handle, (self.number, self.id)


class RemoteNode:
    """A context manager with the methods of Node and, under `cri`, of Cri. The node uses the guest's
    own network, where its RDMA device is; host_address is the guest's. `archives` are those of images
    by their names: an emulated machine takes minutes to find out what belongs into one."""

    TIMEOUT = 300  # of a call; everything that is called has shorter ones of its own

    def __init__(self, guest, env=None, archives=None, **arguments):
        self.guest = guest
        self.host_address = guest.address
        self._env = env
        self._archives = archives or {}
        self._arguments = {"network": "host", **arguments}

    def __enter__(self):
        self._answers = bytearray()
        self._arrived = threading.Condition()
        self._process = self.guest.start("/usr/bin/python3", "-B", os.path.realpath(__file__),
                                         env=self._env, sink=self._take, done=self._ended)
        self._errors = bytearray()
        self._send((self._archives, self._arguments))
        for name, value in self._receive().items():
            setattr(self, name, value)
        self.cri = _Calls(self, "cri.")
        return self

    def __exit__(self, *_):
        if self._process.returncode is None and not self.guest.dead:
            self._process.close_input()
            self._process.wait(60)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    def call(self, name, *args, **kwargs):
        self._send((name, args, kwargs))
        return self._receive()

    def _send(self, message):
        data = pickle.dumps(message)
        self._process.write(_LENGTH.pack(len(data)) + data)

    def _take(self, stream, data):
        with self._arrived:
            (self._answers if stream == 1 else self._errors).extend(data)
            self._arrived.notify_all()

    def _ended(self, _):
        with self._arrived:
            self._arrived.notify_all()

    def _receive(self):
        def whole():
            size = _LENGTH.size
            return len(self._answers) >= size and (
                len(self._answers) >= size + _LENGTH.unpack_from(self._answers)[0])

        def over():
            return self._process.returncode is not None or self.guest.dead

        with self._arrived:
            if not self._arrived.wait_for(lambda: whole() or over(), self.TIMEOUT) or not whole():
                raise GuestError(f"{self.guest.name}: the node gave no answer: "
                                 f"{self._errors.decode(errors='replace')[-2000:]}")
            length, = _LENGTH.unpack_from(self._answers)
            data = bytes(self._answers[_LENGTH.size:_LENGTH.size + length])
            del self._answers[:_LENGTH.size + length]
        failed, result = pickle.loads(data)
        if failed:
            raise result
        if isinstance(result, Handle):
            result.node = self
        return result


class _Calls:
    def __init__(self, node, prefix):
        self._node = node
        self._prefix = prefix

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._node.call(self._prefix + name, *args, **kwargs)


# In the guest


class _Server:
    def __init__(self, node, incoming, outgoing):
        self._node = node
        self._incoming = incoming
        self._outgoing = outgoing
        self._kept = []

    def answer(self, message, failed=False):
        try:
            data = pickle.dumps((failed, message))
        except (pickle.PicklingError, TypeError):
            data = pickle.dumps((True, RuntimeError(str(message))))
        self._outgoing.write(_LENGTH.pack(len(data)) + data)
        self._outgoing.flush()

    def serve(self):
        while request := read(self._incoming):
            name, args, kwargs = request
            try:
                target = self._node
                for part in name.split("."):
                    target = getattr(target, part)
                self.answer(self._keep(target(*map(self._mine, args), **kwargs)))
            except Exception as error:  # whatever it is, it is the caller's
                # Not every exception can be made again from its pickle; its text always can.
                self.answer(RuntimeError(f"{type(error).__name__}: {error}"), failed=True)

    def _keep(self, value):
        if not isinstance(value, _STAYS):
            return value
        self._kept.append(value)
        return Handle(len(self._kept) - 1, value.id)

    def _mine(self, value):
        return self._kept[value.number] if isinstance(value, Handle) else value


def read(file):
    """The next message; None at the end."""
    head = file.read(_LENGTH.size)
    return pickle.loads(file.read(_LENGTH.unpack(head)[0])) if head else None


def main():
    # What is printed by accident must not come between the answers.
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    incoming = sys.stdin.buffer
    # By its usual name, so that both sides mean the same class.
    import lib.guest.remote as remote

    archives, arguments = read(incoming)
    ARCHIVES.update(archives)
    with Node(**arguments) as node:
        server = remote._Server(node, incoming, outgoing)
        server.answer({name: getattr(node, name)
                       for name in ("name", "dir", "config", "config_path", "subnet", "mtu")})
        server.serve()


if __name__ == "__main__":
    main()
