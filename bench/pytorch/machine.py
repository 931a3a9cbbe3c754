"""What a result depends on (machine, load, versions, the BLAS that torch really runs on), and how a program of its own is
timed. Importing it does not import torch."""
import datetime
import json
import os
import platform
import re
import subprocess
import sys


def _read(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def cpu():
    m = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    return "%s, %d CPUs" % (m.group(1).strip() if m else platform.machine(), os.cpu_count())


def load():
    return " ".join(_read("/proc/loadavg").split()[:3])


def busy():
    """OpenMP threads wait for each other: with another process on one of the cores, times grow tenfold."""
    if float(load().split()[0]) <= 0.3 * os.cpu_count():
        return ""
    return " (**another process was running: measure again on a quiet machine**)"


def blas():
    """The BLAS that is mapped into this process; call it after a matrix product."""
    import torch
    if torch.backends.mkl.is_available():  # linked in; a BLAS of numpy's may be mapped beside it
        return "MKL"
    maps = _read("/proc/self/maps")
    for word, name in (("libmkl", "MKL"), ("openblas", "OpenBLAS"), ("libblis", "BLIS")):
        if word in maps:
            return name
    if re.search(r"/libblas\.so", maps):
        return "reference BLAS (slow: install libopenblas0-openmp before comparing)"
    return "inside torch"


def ours(trial):
    avsweep = os.path.join(os.path.dirname(trial), "avsweep")
    for cmd in ([avsweep, "version"], [trial, "--version"]):
        try:
            r = subprocess.run(cmd, capture_output=True, text=True, timeout=20)
        except OSError:
            continue
        lines = (r.stdout + r.stderr).strip().splitlines()
        if r.returncode == 0 and lines:
            return lines[0]
    return "avsweep"


def lines(trial):
    """Markdown bullets."""
    import torch
    mkldnn = re.search(r"MKL-DNN v([0-9.]+)", torch.__config__.show())
    return ["- machine: %s, %s" % (cpu(), platform.platform()),
            "- load average at the start: %s%s" % (load(), busy()),
            "- PyTorch %s, oneDNN %s, BLAS: %s" % (torch.__version__, mkldnn.group(1) if mkldnn else "?", blas()),
            "- ours: %s" % ours(trial),
            "- date: %s" % datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")]


def run_json(cmd, threads):
    """What a command prints as its last line, a JSON object."""
    r = subprocess.run(cmd, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    if r.returncode != 0:
        sys.exit("%s: exit status %d: %s" % (" ".join(cmd), r.returncode, r.stderr.strip()[-2000:]))
    return json.loads(r.stdout.strip().splitlines()[-1])


def p90(samples):
    s = sorted(samples)
    return s[min(len(s) - 1, int(0.9 * len(s)))]
