#!/usr/bin/python3
"""A guest that means harm: wild pointers and lengths, addresses rewritten while they are read,
descriptors closed during calls, children killed in the middle of them, names that look like the
supervisor's own. Afterwards an ordinary connection must still work. Run it under shunt-launch; exits 0
if so. Needs root only as shunt-launch does."""
import ctypes
import os
import random
import signal
import socket
import struct
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
CONNECT, LISTEN, ACCEPT, ACCEPT4, GETSOCKNAME, GETPEERNAME, SETSOCKOPT, GETSOCKOPT, IOCTL = (
    42, 50, 43, 288, 51, 52, 54, 55, 16)
SECONDS = 5


def call(number, *args):
    return libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a & (2**64 - 1)) for a in args])


def server(ready, stop):
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(0.2)
    ready.append(listener.getsockname()[1])
    while not stop.is_set():
        try:
            peer, _ = listener.accept()
        except OSError:
            continue
        peer.settimeout(2)
        try:
            peer.sendall(peer.recv(16))
        except OSError:
            pass
        peer.close()


def wild(port, stop):
    pick = random.Random(1)
    values = [0, 1, 7, 4096, 2**31 - 1, 2**31, 2**32, 2**47, 2**63, 2**64 - 1]
    while not stop.is_set():
        sock = socket.socket()
        sock.setblocking(False)
        number = pick.choice([CONNECT, LISTEN, ACCEPT4, GETSOCKNAME, GETPEERNAME, IOCTL])
        call(number, pick.choice([sock.fileno(), 2**32 + 3, 9999]), pick.choice(values),
             pick.choice(values), pick.choice(values))
        if pick.random() < 0.5:
            try:
                sock.connect(("127.0.0.1", port))
            except OSError:
                pass
        for number in (SETSOCKOPT, GETSOCKOPT):
            call(number, sock.fileno(), 6, pick.choice([1, 11, 13, 255]), pick.choice(values),
                 pick.choice(values))
        call(ACCEPT, sock.fileno(), pick.choice(values), pick.choice(values))
        sock.close()


def rewrite(port, stop):
    address = ctypes.create_string_buffer(16)
    good = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), bytes([127, 0, 0, 1]))

    def scribble():
        while not stop.is_set():
            address.raw = good
            address.raw = os.urandom(16)

    threading.Thread(target=scribble, daemon=True).start()
    while not stop.is_set():
        sock = socket.socket()
        sock.setblocking(False)
        call(CONNECT, sock.fileno(), ctypes.addressof(address), 16)
        sock.close()


def closing(port, stop):
    while not stop.is_set():
        sock = socket.socket()
        number = sock.fileno()
        other = threading.Thread(target=lambda: call(3, number))
        other.start()
        try:
            sock.connect(("127.0.0.1", port))
        except OSError:
            pass
        other.join()
        sock.detach()


def killed(port, stop):
    while not stop.is_set():
        pid = os.fork()
        if pid == 0:
            while True:
                with socket.socket() as sock:
                    try:
                        sock.connect(("127.0.0.1", port))
                        sock.getpeername()
                    except OSError:
                        pass
        time.sleep(random.random() / 50)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def forging():
    """A name like the supervisor's, bound in the pod: it must mean nothing."""
    forged = socket.socket(socket.AF_UNIX)
    forged.bind(b"\0shunt:1:44:1.2.3.4:5>6.7.8.9:10")
    assert forged.getsockname() == b"\0shunt:1:44:1.2.3.4:5>6.7.8.9:10", forged.getsockname()
    assert forged.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_UNIX


def main():
    stop, ready = threading.Event(), []
    done = threading.Event()
    threading.Thread(target=server, args=(ready, done), daemon=True).start()
    while not ready:
        time.sleep(0.01)
    forging()
    threads = [threading.Thread(target=each, args=(ready[0], stop))
               for each in (wild, rewrite, closing, killed)]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", ready[0]), timeout=5) as sock:
            sock.sendall(b"still here")
            assert sock.recv(16) == b"still here"
            assert sock.getpeername() == ("127.0.0.1", ready[0])
    done.set()
    print("survived")


main()
