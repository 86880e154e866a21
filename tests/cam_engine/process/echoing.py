"""A child for tests: says what it is told, in capitals, and writes it into the file backwards.

"end N": it ends with status N. "wait": it says nothing for long.
"""

from __future__ import annotations

import os
import sys
import time

from cam_engine.process.children import answer_messages


def answer(said: bytes, file: int) -> bytes:
    if said.startswith(b"end "):
        sys.exit(int(said[4:]))
    if said == b"wait":
        time.sleep(600)
    os.pwrite(file, said[::-1], 0)
    return said.upper()


if __name__ == "__main__":
    answer_messages(sys.argv[1:], answer)
