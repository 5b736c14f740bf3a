"""What host and guest say to each other over a virtio-serial port: frames of a kind, the number of a
process, and bytes. Used by both sides.

    host to guest                              guest to host
    RUN     JSON: argv, env, cwd               READY   (process 0) the guest is up
    INPUT   for its stdin; empty: the end      OUT     from its stdout
    SIGNAL  a number, as text                  ERR     from its stderr
                                               EXIT    its exit status, as text; the last frame
"""

import os
import struct

READY, RUN, INPUT, SIGNAL, OUT, ERR, EXIT = range(7)
CHUNK = 32768  # bytes of one frame at most, as far as senders of bulk data care

_HEADER = struct.Struct("!BII")


def write(fd, kind, process, data=b""):
    """Writes a frame to a blocking descriptor, whole."""
    left = memoryview(_HEADER.pack(kind, process, len(data)) + data)
    while left:
        left = left[os.write(fd, left):]


class Reader:
    """Takes bytes as they come and gives the frames that are complete."""

    def __init__(self):
        self._bytes = bytearray()

    def feed(self, data):
        """Yields (kind, process, data)."""
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            kind, process, length = _HEADER.unpack_from(self._bytes)
            if len(self._bytes) < _HEADER.size + length:
                return
            payload = bytes(self._bytes[_HEADER.size:_HEADER.size + length])
            del self._bytes[:_HEADER.size + length]
            yield kind, process, payload
