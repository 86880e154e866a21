"""A child for tests: says what it is told, in capitals, and writes it into the file backwards.

"end N": it ends with status N. "wait": it says nothing for long.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection

if __name__ == "__main__":
    connection, file = Connection(int(sys.argv[1])), int(sys.argv[2])
    connection.send_bytes(b"ready")
    while True:
        try:
            said = connection.recv_bytes()
        except EOFError:
            break
        if said.startswith(b"end "):
            sys.exit(int(said[4:]))
        if said == b"wait":
            time.sleep(600)
        os.pwrite(file, said[::-1], 0)
        connection.send_bytes(said.upper())
