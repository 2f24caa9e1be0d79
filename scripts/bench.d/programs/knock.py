"""Connect 64 times, wait until the server has closed each, and again: knock.py PORT SECONDS → how many, in how long.

A connection counts when its worker has closed it, so that none counts that only waits in a queue.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

BURST = 64
RESET = struct.pack("ii", 1, 0)

address = ("127.0.0.1", int(sys.argv[1]))
began = time.perf_counter()
end = began + float(sys.argv[2])
done = 0
while time.perf_counter() < end:
    knocking = []
    for _ in range(BURST):
        sock = socket.socket()
        sock.settimeout(5.0)
        sock.connect(address)
        knocking.append(sock)
    for sock in knocking:
        if sock.recv(1):
            sys.exit("the server said something")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # no port waits for its time to be over
        sock.close()
    done += BURST
print(done, time.perf_counter() - began)
