"""Probe tensors of the golden files (tests/golden/FORMAT.md) and golden files themselves, for check.py."""
import json
import math
import struct

import numpy as np
import torch

MASK = (1 << 64) - 1


def unit(name, n):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) * 2.0 ** -24 * 2.0 - 1.0


def tensor(name, shape, scale=1.0, offset=0.0):
    return torch.from_numpy((offset + scale * unit(name, int(np.prod(shape)))).astype(np.float32).reshape(shape))


def fill(module, rename):
    """Every floating parameter and buffer gets the probe value of rename(its key)."""
    with torch.no_grad():
        for key, v in module.state_dict(keep_vars=True).items():
            if not v.is_floating_point():
                continue
            shape, scale, offset = tuple(v.shape), 0.1, 0.0
            if len(shape) >= 2:
                scale = math.sqrt(3.0 / max(int(np.prod(shape[1:])), 1))
            elif key.endswith("running_var") or key.endswith(".weight"):
                offset = 1.0
            key = rename(key)
            v.copy_(tensor(key, shape, scale, offset) if shape else torch.tensor(0.0))


def golden(path):
    """(description, inputs by role, outputs by name) of a golden case; inputs that are plain tensors alone."""
    with open(path + ".json") as f:
        about = json.load(f)
    with open(path + ".safetensors", "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        base = f.read()
    outputs = {}
    for name, t in head.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            a, b = t["data_offsets"]
            outputs[name] = torch.from_numpy(np.frombuffer(base[a:b], np.float32).reshape(t["shape"]).copy())
    inputs = {i["role"]: tensor(i["name"], i["shape"], i.get("scale", 1.0), i.get("offset", 0.0))
              for i in about["inputs"] if i["make"] == "tensor"}
    return about, inputs, outputs
