"""What does not behave at the control port of a pod, without any supervision; node_faults_test.py runs it.

  stranger.py MODE ADDRESS         listens at ADDRESS:7471, as the shim of a pod would, and answers each call:
      version                      with a version of its own, too new for everybody
      garbage                      with nonsense
      silent                       not at all
      traitor                      as it should, up to the point where the connection is up; then with nonsense
  stranger.py call ADDRESS COUNT   calls the shim of ADDRESS and sends it nonsense

Prints one line for each call: how it ended, and after how many seconds. Bytes: netstack/WIRE.md.
"""

import os
import socket
import struct
import sys
import threading
import time

PORT = 7471
HELLO, INFO, BYE = 1, 5, 6
HOST = 1


def frame(kind, payload):
    return struct.pack('<IB', len(payload) + 1, kind) + payload


def hello(version):
    return frame(HELLO, b'SHNT' + struct.pack('<HHB', version, version, 0) + os.urandom(8) + os.urandom(32))


def text(words):
    return bytes([len(words)]) + words


def info():
    # Its fabric host is at an address where nobody is.
    advert = struct.pack('>B', 1) + bytes(10) + b'\xff\xff' + socket.inet_aton('192.0.2.99') + struct.pack('>H', 7472)
    return frame(INFO, text(b'nowhere') + bytes(8) + text(b'stranger') + struct.pack('<IB', 16, 1) +
                 struct.pack('<BH', HOST, len(advert)) + advert)


def read_frame(connection):
    """(kind, payload) or None at the end."""
    def exactly(count):
        data = b''
        while len(data) < count:
            part = connection.recv(count - len(data))
            if not part:
                return b''
            data += part
        return data

    head = exactly(5)
    if not head:
        return None
    length, kind = struct.unpack('<IB', head)
    return kind, exactly(length - 1) if length > 1 else b''


def hear_out(connection):
    """Until the other side ends it: with which reason, if it says one."""
    try:
        while got := read_frame(connection):
            if got[0] == BYE:
                return f'bye {got[1][0]}'
        return 'end'
    except TimeoutError:
        return 'still there'
    except OSError as error:
        return f'error {error.errno}'


def answer(connection, mode):
    begin = time.monotonic()
    connection.settimeout(10)
    try:
        if mode == 'version':
            connection.sendall(hello(99))
        elif mode == 'garbage':
            connection.sendall(os.urandom(4096))
        elif mode == 'traitor':
            assert read_frame(connection)[0] == HELLO
            connection.sendall(hello(1) + info())
            assert read_frame(connection)[0] == INFO
            connection.sendall(os.urandom(65536))
        how = hear_out(connection)
    except OSError as error:
        how = f'error {error.errno}'
    connection.close()
    print(how, round(time.monotonic() - begin, 3), flush=True)


def listen(mode, address):
    listener = socket.create_server((address, PORT))
    print('ready', flush=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0], mode), daemon=True).start()


def call(address, count):
    for i in range(int(count)):
        with socket.create_connection((address, PORT), 5) as connection:
            # Frames that say they are long, short ones, and no frames at all.
            nonsense = (os.urandom(2000), struct.pack('<I', 0) + os.urandom(50), struct.pack('<IB', 50, 16) + bytes(49),
                        frame(HELLO, os.urandom(40)), hello(1) + os.urandom(500))
            begin = time.monotonic()
            connection.settimeout(10)
            try:
                connection.sendall(nonsense[i % len(nonsense)])
                how = hear_out(connection)
            except OSError as error:
                how = f'error {error.errno}'
            print(how, round(time.monotonic() - begin, 3), flush=True)


if __name__ == '__main__':
    mode, address, *rest = sys.argv[1:]
    if mode == 'call':
        call(address, *rest)
    else:
        listen(mode, address)
