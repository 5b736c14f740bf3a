"""A client of memcached: values of many sizes, set over one connection and read over others.
    cached.py HOST PORT CONNECTIONS VALUES FILE
Keeps its connections until there is the file."""

import os
import random
import socket
import sys
import time

host, port, connections, values = sys.argv[1], *map(int, sys.argv[2:5])
sockets = [socket.create_connection((host, port), timeout=20) for _ in range(connections)]
files = [sock.makefile("rwb") for sock in sockets]
pick = random.Random(1)
stored = {f"key{number}": pick.randbytes(pick.choice((0, 1, 1000, 100000)))
          for number in range(values)}
for number, (key, value) in enumerate(stored.items()):
    file = files[number % connections]
    file.write(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value))
    file.flush()
    assert file.readline() == b"STORED\r\n"
right = 0
for number, (key, value) in enumerate(stored.items()):
    file = files[(number + 1) % connections]
    file.write(b"get %s\r\n" % key.encode())
    file.flush()
    assert file.readline().split() == [b"VALUE", key.encode(), b"0", b"%d" % len(value)]
    right += file.read(len(value) + 2) == value + b"\r\n"
    assert file.readline() == b"END\r\n"
patience = time.monotonic() + 30
while not os.path.exists(sys.argv[5]) and time.monotonic() < patience:
    time.sleep(0.01)
print("right:", right)
