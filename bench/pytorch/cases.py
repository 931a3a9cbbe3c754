"""Writes new golden cases (tests/golden/FORMAT.md) of whole systems with the independent PyTorch modules of this folder, so
that the runner is tested on sizes, batches, options and seeds that the given cases do not have:

    python3 cases.py --system avsegformer --seed 3 --out DIR

draws one case at random by the seed. AVESFormer needs --reference, the folder of avesformer_reference.py, whose options it has.
Weights and inputs are probe tensors of names that hold the seed; losses and gradients are those of one step.
"""
import argparse
import importlib
import json
import math
import os
import random
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

import avesformer
import check
import probe
import pvt_v2

SYSTEMS = ("avesformer", "avsegformer", "tpavi", "lightavseg", "save", "sama", "sam", "aavs")


def summary(name, x, keep=64):
    a = x.detach().double().reshape(-1).numpy()
    step = max(1, a.size // keep)
    return {"shape": list(x.shape), "mean": float(a.mean()), "std": float(a.std()), "l2": float(np.sqrt((a * a).sum())),
            "dot": float((a * probe.unit("act:" + name, a.size)).sum()), "stride": step,
            "samples": [float(np.float32(v)) for v in a[::step][:keep]]}


def digest(name, g):
    g = g.detach().double().reshape(-1).numpy()
    return [float(np.sqrt((g * g).sum())), float((g * probe.unit("grad:" + name, g.size)).sum())]


def blocks(name, shape, cell):
    *lead, h, w = shape
    gh, gw = -(-h // cell), -(-w // cell)
    n = int(np.prod(lead)) if lead else 1
    u = probe.unit(name, n * gh * gw).reshape(n, gh, gw)
    return np.repeat(np.repeat(u, cell, 1), cell, 2)[:, :h, :w].reshape(shape)


def replication(y):
    y = y.detach().double()
    return float(((y.mean(1) ** 2).sum(-1) / (y ** 2).sum(-1).mean(1)).mean())


def statistics(a, y):
    """Dissipation of the attention a (B,heads,N,K) that made y (B,N,C): docs/models.md."""
    a = a.detach().double()
    a = a / a.sum(-1, keepdim=True)
    n, k = a.shape[-2:]
    h = lambda p: -torch.special.xlogy(p, p).sum(-1)
    each = h(a).mean(-1)
    shared = (h(a.mean(-2)) - each).clamp_min(0)
    return {"queries": n, "keys": k, "entropy": float(each.mean()), "normalised_entropy": float(each.mean()) / math.log(k) if k > 1 else 1.0,
            "dissipation_index": float((1 - shared / math.log(min(n, k))).mean()) if min(n, k) > 1 else 1.0,
            "replication_index": replication(y)}


def save_tensors(path, tensors):
    kinds = {np.dtype("float32"): "F32", np.dtype("int64"): "I64"}
    head, blobs, at = {}, [], 0
    for k, v in tensors.items():
        b = np.ascontiguousarray(v).tobytes()
        head[k] = {"dtype": kinds[v.dtype], "shape": list(v.shape), "data_offsets": [at, at + len(b)]}
        blobs.append(b)
        at += len(b)
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h + b"".join(blobs))


def features(name):
    """A pyramid of four maps, its channels, and how its keys are renamed."""
    if name.startswith("pvt"):
        return pvt_v2.PVTv2(int(name[-1])), pvt_v2.SIZES[int(name[-1])][0], check.pvt
    wide = name == "resnet50"
    return avesformer.ResNetFeatures(name), tuple(64 << i + 2 * wide for i in range(4)), check.two_branches


class Case:
    """One case being made: inputs first, then what a module answered."""

    def __init__(self, name, model, phase, config, clips, rng, prefix=""):
        self.name, self.model, self.phase, self.config, self.rng, self.prefix = name, model, phase, config, rng, prefix
        self.clips, self.rows = clips, clips * config["frames"]
        self.extra, self.inputs, self.outputs = {"clips": clips}, [], {}
        self.activations, self.losses, self.more = {}, {}, {}

    def tensor(self, role, shape, scale=1.0, offset=0.0):
        name = "%s.%s" % (self.name, role)
        self.inputs.append({"role": role, "make": "tensor", "name": name, "shape": list(shape), "scale": scale, "offset": offset})
        return probe.tensor(name, tuple(shape), scale, offset).to(torch.get_default_dtype())

    def frames(self, scale=2.0):
        size = self.config["resolution"]
        h, w = size if isinstance(size, list) else (size, size)
        self.height, self.width = h, w
        return self.tensor("frames", (self.rows, 3, h, w), scale)

    def audio_feature(self):
        return self.tensor("audio_feature", (self.rows, 128), 0.5, 0.5)

    def values(self, role, values):
        self.inputs.append({"role": role, "make": "values", "values": values})
        return torch.tensor(values, dtype=torch.get_default_dtype())

    def target(self, classes, with_channel=True, rows=None):
        """A mask, or a class map where classes > 1."""
        name, n, cell = self.name + ".target", rows or self.rows, self.rng.choice((8, 16))
        if classes > 1:
            shape = [n, self.height, self.width]
            self.inputs.append({"role": "target", "make": "classes", "name": name, "shape": shape, "count": classes, "cell": cell})
            k = np.floor((blocks(name, shape, cell) + 1) / 2 * classes).astype(np.int64)
            return torch.from_numpy(np.minimum(k, classes - 1))
        shape = [n] + [1] * with_channel + [self.height, self.width]
        fraction = self.rng.choice((0.2, 0.4))
        self.inputs.append({"role": "target", "make": "mask", "name": name, "shape": shape, "fraction": fraction, "cell": cell})
        return torch.from_numpy((blocks(name, shape, cell) < 2 * fraction - 1).astype(np.float32)).to(torch.get_default_dtype())

    def supervised(self):
        """The rows that enter the losses of a task with masks."""
        rows = list(range(0, self.rows, self.config["frames"] if self.config["task"] == "s4" else 1))
        self.extra["supervised_frames"] = rows
        return rows

    def weights(self, there, labelled):
        """Which frames exist, None: all, and which count in the losses. there, labelled: of row i, asked with classes alone."""
        if self.config["task"] == "avss":
            exist = [float(there(i)) for i in range(self.rows)]
            return self.values("frame_mask", exist), self.values("label_mask", [float(v and labelled(i)) for i, v in enumerate(exist)])
        rows = self.supervised()
        return None, torch.tensor([float(i in rows) for i in range(self.rows)])

    def fill(self, net, rename):
        probe.fill(net, lambda key: self.prefix + rename(key))
        return net

    def keep(self, name, x):
        self.outputs[name] = x.detach().float().contiguous().numpy()

    def note(self, name, x):
        self.activations[name] = summary(name, x)

    def gradients(self, net, rename, total, frozen=lambda key: False):
        names = [(self.prefix + rename(k), p) for k, p in net.named_parameters()]
        grads = torch.autograd.grad(total, [p for _, p in names], allow_unused=True)
        found = {k: digest(k, g) for (k, _), g in zip(names, grads) if g is not None}
        self.more["gradients"] = {k: v for k, v in found.items() if not frozen(k)}
        self.more["frozen_gradients"] = {k: v for k, v in found.items() if frozen(k)}
        self.more["no_gradient"] = [k for (k, _), g in zip(names, grads) if g is None]

    def dissipation(self, net):
        """Of every module that kept its weights as `weights`, its output as `made`."""
        self.more["dissipation"] = {k: statistics(m.weights, m.made) for k, m in net.named_modules() if hasattr(m, "made")}

    def zero(self, test):
        """Gradients that are zero in exact arithmetic are named, not digested."""
        for part in ("gradients", "frozen_gradients"):
            names = [k for k in self.more.get(part, {}) if test(k)]
            for k in names:
                del self.more[part][k]

    def write(self, out):
        config = {k: v for k, v in self.config.items() if v is not None}
        about = {"format": "avs-golden-1", "case": self.name, "model": self.model, "phase": self.phase,
                 "mode": "train: batch statistics, no dropout, no drop path" if self.phase == "train" else "eval",
                 "source": "bench/pytorch/cases.py", "param_prefix": self.prefix, "config": config, "extra_config": self.extra,
                 "inputs": self.inputs, "outputs": {k: list(v.shape) for k, v in self.outputs.items()},
                 "activations": self.activations, "losses": {k: float(v.detach()) for k, v in self.losses.items()}}
        about.update(self.more)
        about.setdefault("gradients", {})
        path = os.path.join(out, self.name)
        with open(path + ".json", "w") as f:
            json.dump(about, f, indent=0)
            f.write("\n")
        save_tensors(path + ".safetensors", self.outputs)


def adaptive_resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--system", required=True, choices=SYSTEMS)
    ap.add_argument("--seed", type=int, required=True)
    ap.add_argument("--count", type=int, default=1, help="so many seeds from --seed on")
    ap.add_argument("--reference", help="folder of avesformer_reference.py")
    ap.add_argument("--set", default="", help="KEY=JSON,.. in place of what is drawn")
    ap.add_argument("--name", help="of the case; else SYSTEM-SEED")
    ap.add_argument("--double", action="store_true", help="compute in float64: what float32 comes near to (golden --backend ref)")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    if args.double:
        torch.set_default_dtype(torch.float64)
    if args.reference:
        sys.path.append(args.reference)
    torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    fixed = json.loads(args.set) if args.set else {}
    for seed in range(args.seed, args.seed + args.count):
        name = args.name or "%s-%d" % (args.system, seed)
        try:
            module = importlib.import_module("cases_" + {"save": "sam", "sama": "sam", "sam": "prompted"}.get(args.system, args.system))
            case = module.make(args.system, name, random.Random("%s/%d" % (args.system, seed)), fixed)
        except ImportError as e:
            sys.exit("cases of %s need %s" % (args.system, e.name))
        case.write(args.out)
        print(name, json.dumps(case.config), flush=True)


if __name__ == "__main__":
    main()
