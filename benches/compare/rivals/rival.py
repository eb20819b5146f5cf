"""What the Python programs share: the connection to the runner, the columns, and what is left of an order."""

import os
import socket
import time

import numpy as np

WORKLOAD = os.environ["COMPARE_WORKLOAD"]
INPUTS = os.environ["COMPARE_INPUTS"].split(":")
THREADS = int(os.environ["COMPARE_THREADS"])
MASK = (1 << 64) - 1
ITERATIONS = 10
DAMPING = 0.85


def column(path):
    return np.fromfile(path, dtype=np.uint64)


def order(rows):
    """Of sorted rows: how many, their wrapping sum, and that of each times its place."""
    weighted = int(np.sum(rows * np.arange(len(rows), dtype=np.uint64), dtype=np.uint64))
    return f"{len(rows)} {int(np.sum(rows, dtype=np.uint64))} {weighted}"


def check(rows, total):
    return f"{rows} {int(total) & MASK}"


def words(counts):
    return " ".join(f"{word}:{count}" for word, count in counts)


def pagerank(best, total):
    pages = ", ".join(f"{page}: {rank:.5f}" for page, rank in best)
    return f"{pages}; all: {total:.3f}"


def serve(run):
    """Runs whenever the runner says so. `run` gives a result; what makes an answer of it is not timed."""
    stream = socket.create_connection(("127.0.0.1", int(os.environ["COMPARE_PORT"]))).makefile("rw")
    stream.write("ready\n")
    stream.flush()
    for _ in stream:
        began = time.perf_counter()
        answer = run()
        seconds = time.perf_counter() - began
        stream.write(f"{seconds}\t{answer()}\n")
        stream.flush()
