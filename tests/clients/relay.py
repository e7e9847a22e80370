#!/usr/bin/env python3
"""Stands between a client and a registry, and cuts one connection: the first that has carried so
many bytes up (from the client) or down (to it). All others pass.

    relay.py REGISTRY_PORT up|down BYTES

Prints the port it listens on, then what it cut.
"""

import socket
import sys
import threading

REGISTRY, DIRECTION, BYTES = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
done = threading.Lock()


def carry(source, target, direction):
    """Carries bytes until one side ends, then ends both."""
    carried = 0
    try:
        while chunk := source.recv(65536):
            carried += len(chunk)
            if direction == DIRECTION and carried > BYTES and done.acquire(blocking=False):
                print(f"cut {direction} after {carried} bytes", flush=True)
                break
            target.sendall(chunk)
    except OSError:
        pass  # The other direction has ended both.
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It was closed from afar.


listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", REGISTRY))
    threading.Thread(target=carry, args=(client, server, "up"), daemon=True).start()
    threading.Thread(target=carry, args=(server, client, "down"), daemon=True).start()
