#!/usr/bin/python3
"""A server that says who it is, and a client that says how connecting went. Runs in the pods of the
tests, see pods.py.

    dial.py serve PORT NAME [--udp] [--bind ADDRESS]
    dial.py dial ADDRESS PORT [--count N] [--nonblocking] [--udp] [--hold SECONDS]

The client prints one line of JSON a connection: {"error": name or null, "seconds": how long connecting
took, "answer": what the server said, "peer": getpeername}.
"""

import argparse
import errno
import json
import select
import socket
import threading
import time


def answer(connection, name, peer):
    with connection:
        connection.sendall(f"{name} {peer[0]}\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def serve(options):
    if options.udp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((options.bind, options.port))
            while True:
                data, peer = sock.recvfrom(65536)
                sock.sendto(f"{options.name} {peer[0]} ".encode() + data, peer)
    listener = socket.create_server((options.bind, options.port), backlog=512)
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=answer, args=(connection, options.name, peer), daemon=True).start()


def connect(sock, options):
    """The error's number, 0 for none."""
    if not options.nonblocking:
        return sock.connect_ex((options.address, options.port))
    sock.setblocking(False)
    code = sock.connect_ex((options.address, options.port))
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if poll.poll(30000) else -1
    sock.setblocking(True)
    return code


def line_of(sock):
    text = b""
    while not text.endswith(b"\n"):
        data = sock.recv(4096)
        if not data:
            break
        text += data
    return text.decode().strip()


def dial_one(options):
    kind = socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        began = time.monotonic()
        code = connect(sock, options)
        said = {"error": errno.errorcode.get(code) if code else None,
                "seconds": time.monotonic() - began, "answer": "", "peer": ""}
        if code == 0:
            sock.settimeout(10)
            try:
                said["peer"] = "%s:%d" % sock.getpeername()
                if options.udp:
                    sock.send(b"datagram")
                    said["answer"] = sock.recv(4096).decode()
                else:
                    said["answer"] = line_of(sock)
                    sock.sendall(b"and back\n")
                    assert line_of(sock) == "and back"
            except OSError as error:
                said["error"] = errno.errorcode.get(error.errno, type(error).__name__)
        print(json.dumps(said), flush=True)
        time.sleep(options.hold)


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    server = modes.add_parser("serve")
    server.add_argument("port", type=int)
    server.add_argument("name")
    server.add_argument("--udp", action="store_true")
    server.add_argument("--bind", default="0.0.0.0")
    client = modes.add_parser("dial")
    client.add_argument("address")
    client.add_argument("port", type=int)
    client.add_argument("--count", type=int, default=1)
    client.add_argument("--nonblocking", action="store_true")
    client.add_argument("--udp", action="store_true")
    client.add_argument("--hold", type=float, default=0)
    options = parser.parse_args()
    if options.mode == "serve":
        serve(options)
    for _ in range(options.count):
        dial_one(options)


if __name__ == "__main__":
    main()
