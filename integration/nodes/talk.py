"""One half of a conversation between two pods; nodes_test.py runs it under supervision.

  talk.py server PORT [ADDRESS]  answers everything with the same
  talk.py greeter PORT           says hello first
  talk.py reluctant PORT         listens, never accepts, and closes
  talk.py client ADDRESS PORT    does what the lines of its input say, and says what happened
  talk.py sink PORT N SECONDS, crowd ADDRESS PORT N
                                 N busy connections and one that never stops: who gets how much
  talk.py escape ADDRESS PORT VICTIM PORT
                                 leaves the connection by 32-bit calls and tries to reach the victim

Input and output are lines, so that whoever runs it decides when what happens.
"""

import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time


released = threading.Event()


def serve(connection):
    with connection:
        try:
            data = connection.recv(4096)
            if data[:1] == b'#':  # wants to be left alone
                released.wait()
                return
            while data:
                connection.sendall(data)
                data = connection.recv(4096)
        except OSError as error:
            print('error', error.errno, flush=True)


def server(port, address='0.0.0.0'):
    """Until there is a line of input, what begins with # is not read any further."""
    threading.Thread(target=lambda: sys.stdin.readline() and released.set(), daemon=True).start()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    listener = socket.create_server((address, int(port)), family=family, backlog=1024)
    print('ready', flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def greeter(port):
    listener = socket.create_server(('0.0.0.0', int(port)), backlog=64)
    print('ready', flush=True)
    kept = []
    while True:
        kept.append(listener.accept()[0])
        kept[-1].sendall(b'hello')


def reluctant(port):
    """Never accepts, and does not listen any more after a line of input."""
    listener = socket.create_server(('0.0.0.0', int(port)), backlog=64)
    print('ready', flush=True)
    sys.stdin.readline()
    listener.close()
    print('closed', flush=True)
    sys.stdin.read()


def hello(connection):
    connection.sendall(b'hello')
    return connection.recv(16).decode() or 'end'


def is_kernels(connection):
    """Whether this is a TCP connection of the pod, as connect(2) made it."""
    inode = os.fstat(connection.fileno()).st_ino
    with open('/proc/net/tcp', encoding='ascii') as lines:
        return str(inode) in (line.split()[9] for line in lines)


def block(connection, most):
    """Sends until nothing more goes or so many bytes are under way; to a receiver that is silent."""
    connection.setblocking(False)
    try:
        sent = 0
        while sent < most:
            sent += connection.send(b'#' * min(most - sent, 65536))
    except BlockingIOError:
        pass


def client(address, port):
    """Of a line of input the first word says what to do, and what becomes of that is a line of output:

    new          connects, says hello, keeps the connection
    fast [quiet] the same (or quiet) again and again, until the connection is not the kernel's; forgets the others
    talk [I]     says hello on the last connection, or on the one of this number
    quiet        connects only
    bound        connects from a port that the program has chosen, and waits for something
    early        connects without waiting, a socket that only TCP can stand in for, and says what connect said
    hear         waits for something on the last one
    block N B    makes N connections that stop at B bytes, since nobody reads them
    drop         closes all but the first
    """
    print('ready', flush=True)
    kept, slow = [], []

    def connect():
        kept.append(socket.create_connection((address, int(port))))
        kept[-1].settimeout(30)
        return kept[-1]

    def fast(first='new'):
        """Before the shims know each other connections are the kernel's. None is closed: one that follows one
        that was closed is short-lived."""
        end = time.monotonic() + 30
        while (said := actions[first]()) in ('hello', 'connected') and is_kernels(kept[-1]):
            if time.monotonic() > end:
                return 'slow'
            slow.append(kept.pop())
            time.sleep(0.1)
        return said

    def blocked(count, most):
        for _ in range(int(count)):
            block(connect(), int(most))
        return 'blocked'

    def bound():
        with socket.socket() as free:
            free.bind(('', 0))
            source = free.getsockname()
        kept.append(socket.create_connection((address, int(port)), source_address=source))
        return kept[-1].recv(16).decode()

    def early():
        kept.append(socket.socket())
        kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        kept[-1].setblocking(False)
        said = kept[-1].connect_ex((address, int(port)))
        select.select([], [kept[-1]], [], 30)
        kept[-1].settimeout(30)
        return f'{errno.errorcode.get(said, said)} {hello(kept[-1])}'

    def drop():
        while len(kept) > 1:
            kept.pop().close()
        return 'dropped'

    actions = {'new': lambda: hello(connect()), 'fast': fast,
               'talk': lambda which=-1: hello(kept[int(which)]),
               'quiet': lambda: connect() and 'connected', 'hear': lambda: kept[-1].recv(16).decode() or 'end',
               'block': blocked, 'drop': drop, 'early': early, 'bound': bound}
    for line in sys.stdin:
        begin = time.monotonic()
        word, *arguments = line.split()
        try:
            what = actions[word](*arguments)
        except OSError as error:
            what = f'error {error.errno or error}'
        print(what, round(time.monotonic() - begin, 3), flush=True)


PIECE = bytes(64 << 10)
BUSY_PROCESSES = 5  # each with as many connections


def sink(port, count, seconds):
    """Reads `count` connections, a piece of each in turn, and says how many bytes of each came in so many seconds,
    from when all are there. Acknowledges each piece of 64 KiB with a byte. The first of the list is the one that
    says it is the hog."""
    listener = socket.create_server(('0.0.0.0', int(port)), backlog=1024)
    print('ready', flush=True)
    poll = select.epoll()
    connections = {}
    for _ in range(int(count)):
        connection, _ = listener.accept()
        kind = connection.recv(1)
        connections[connection.fileno()] = (connection, kind, [0])
        poll.register(connection, select.EPOLLIN)
    for connection, _, _ in connections.values():
        connection.sendall(b'!')
        connection.setblocking(False)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for number, _ in poll.poll():
            connection, kind, got = connections[number]
            data = connection.recv(len(PIECE))
            before, got[0] = got[0], got[0] + len(data)
            if kind == b'b' and got[0] // len(PIECE) > before // len(PIECE):
                connection.send(b'!')
    found = sorted((kind != b'h', got[0]) for _, kind, got in connections.values())
    print(*(got for _, got in found), flush=True)
    os._exit(0)


def crowd(address, port, count):
    """One connection that sends without end, and others that send a piece when the last one has arrived. Those are
    dealt to several processes: where CPUs are scarce, they are not to be silent for want of one while the hog has one
    to itself."""
    busy = [socket.create_connection((address, int(port))) for _ in range(int(count))]
    for connection in busy:
        connection.sendall(b'b')
    hog = socket.create_connection((address, int(port)))
    hog.sendall(b'h')
    print('ready', flush=True)
    if os.fork() == 0:
        while True:
            hog.sendall(PIECE * 16)
    turn = 0
    while turn < BUSY_PROCESSES - 1 and os.fork() != 0:
        turn += 1
    poll = select.epoll()
    by_number = {connection.fileno(): connection for connection in busy[turn::BUSY_PROCESSES]}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    try:
        while True:
            for number, _ in poll.poll():
                if not by_number[number].recv(64):
                    return
                by_number[number].sendall(PIECE)
    except OSError:
        pass  # the other side has seen enough


# push rbx; mov eax, edi; mov ebx, esi; xchg edx, ecx; int 0x80; pop rbx; ret
CALL = bytes.fromhex('5389f889f387cacd805bc3')
CONNECT = 362  # of i386


def escape(address, port, victim, victim_port):
    kept = []
    while not kept or is_kernels(kept[-1]):  # the first one may come before the shims know each other
        time.sleep(0.2)
        kept.append(socket.create_connection((address, int(port)), timeout=10))
        assert hello(kept[-1]) == 'hello'
    connection = kept[-1]
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


{'server': server, 'greeter': greeter, 'reluctant': reluctant, 'client': client, 'sink': sink, 'crowd': crowd,
 'escape': escape}[sys.argv[1]](*sys.argv[2:])
