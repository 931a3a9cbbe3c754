"""No-op trials through mpi4py.futures: peer_futures.py TRIALS, under mpirun -m mpi4py.futures."""
import sys
from mpi4py.futures import MPIPoolExecutor


def trial(i):
    return i


if __name__ == "__main__":
    n = int(sys.argv[1])
    with MPIPoolExecutor() as pool:
        done = sum(1 for _ in pool.map(trial, range(n)))
    assert done == n
