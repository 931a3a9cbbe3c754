"""For convert.sh, with PyTorch: writes checkpoints, and compares what avsweep made of them with PyTorch's own reading.

  convert_torch.py write DIR              checkpoints with random values, zip and legacy, and a torchvision-like resnet18
  convert_torch.py same FILE.safetensors CHECKPOINT.pth [KEY]   equal keys, extents and values to the bit
  convert_torch.py features resnet18.pth OUT.safetensors        outputs of the network in PyTorch, input from OUT
  convert_torch.py resized BIG.pth SMALL.safetensors            interpolated tables against F.interpolate
"""
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    header.pop("__metadata__", None)
    out = {}
    for key, t in header.items():
        lo, hi = t["data_offsets"]
        out[key] = torch.from_numpy(np.frombuffer(body[lo:hi], DTYPES[t["dtype"]]).copy().reshape(t["shape"]))
    return out


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet18(nn.Module):
    """He et al. 2016, with the attribute names of torchvision."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        width = 64
        for i in range(1, 5):
            o = 32 << i
            setattr(self, f"layer{i}", nn.Sequential(Block(width, o, 1 if i == 1 else 2), Block(o, o, 1)))
            width = o
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        out = []
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            out.append(x)
        return out


def resnet18():
    net = ResNet18().eval()
    with torch.no_grad():
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.normal_(0, 0.2)
            elif name.endswith("running_var"):
                b.uniform_(0.5, 2)
        for name, p in net.named_parameters():
            if p.dim() == 1:
                p.copy_(torch.empty_like(p).uniform_(0.2, 1))
    return net


def mixed():
    g = torch.Generator().manual_seed(3)
    base = torch.randn(6, 5, generator=g)
    return {"conv.weight": torch.randn(4, 3, 3, 3, generator=g), "view": base[1:4, ::2], "turned": base.t(), "tied": base,
            "double": torch.randn(7, generator=g).double(), "half": torch.randn(9, generator=g).half(),
            "bfloat16": torch.randn(9, generator=g).bfloat16(), "count": torch.tensor(7), "empty": torch.zeros(0, 2)}


def sam_tables(grid, width=768, depth=12):
    """Position tables of sam_vit_b for images of grid x grid patches; global blocks 2, 5, 8, 11."""
    g = torch.Generator().manual_seed(grid)
    d = {"image_encoder.pos_embed": torch.randn(1, grid, grid, width, generator=g)}
    for i in range(depth):
        rows = 2 * grid - 1 if i % 3 == 2 else 27
        for axis in "hw":
            d[f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"] = torch.randn(rows, width // 12, generator=g)
    return d


def sam_encoder(grid):
    D, d = 768, sam_tables(grid)

    def put(key, *shape):
        d["image_encoder." + key] = torch.zeros(*shape)
    put("patch_embed.proj.weight", D, 3, 16, 16), put("patch_embed.proj.bias", D)
    for i in range(12):
        for n in ("norm1", "norm2"):
            put(f"blocks.{i}.{n}.weight", D), put(f"blocks.{i}.{n}.bias", D)
        for n, o, k in (("attn.qkv", 3 * D, D), ("attn.proj", D, D), ("mlp.lin1", 4 * D, D), ("mlp.lin2", D, 4 * D)):
            put(f"blocks.{i}.{n}.weight", o, k), put(f"blocks.{i}.{n}.bias", o)
    put("neck.0.weight", 256, D, 1, 1), put("neck.2.weight", 256, 256, 3, 3)
    for i in (1, 3):
        put(f"neck.{i}.weight", 256), put(f"neck.{i}.bias", 256)
    d["mask_decoder.iou_token.weight"] = torch.zeros(1, 256)
    return d


def write(folder):
    torch.manual_seed(1)
    legacy = {"_use_new_zipfile_serialization": False}

    def save(value, name, **how):
        torch.save(value, os.path.join(folder, name), **how)
    save(mixed(), "mixed.pth")
    save(mixed(), "mixed-legacy.pth", **legacy)
    save({"epoch": 3, "state_dict": mixed()}, "nested.pth")
    net = resnet18()
    save(net.state_dict(), "resnet18.pth")
    save({"module." + k: v for k, v in net.state_dict().items()}, "resnet18-legacy.pth", **legacy)
    save(net, "whole-module.pth")
    short = net.state_dict()
    del short["layer1.0.conv1.weight"]
    short["fc2.weight"] = torch.zeros(2)
    short["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    save(short, "resnet18-wrong.pth")
    save(sam_encoder(64), "sam.pth")


def same(path, checkpoint, key=None):
    got, want = read_safetensors(path), torch.load(checkpoint)
    want = want[key] if key else want
    assert list(got) == list(want), (list(got), list(want))
    for k, v in want.items():
        v = v.float() if v.is_floating_point() else v
        assert got[k].shape == v.shape and got[k].dtype == v.dtype and torch.equal(got[k], v), k


def features(checkpoint, path):
    got, net = read_safetensors(path), ResNet18().eval()
    net.load_state_dict(torch.load(checkpoint))
    with torch.no_grad():
        want = net(got["frames"].permute(0, 3, 1, 2))
    for i, w in enumerate(want):
        g = got[f"out{i}"].permute(0, 3, 1, 2)
        error = float((g - w).norm() / w.norm())
        assert g.shape == w.shape and error < 1e-5, (i, error)
        print(f"out{i} {tuple(w.shape)} relative L2 {error:.1e}")


def resized(checkpoint, path):
    big, small, n = torch.load(checkpoint), read_safetensors(path), 0
    for key, t in small.items():
        b = big["image_encoder." + key]
        if b.shape == t.shape:
            assert torch.equal(b, t), key
            continue
        if t.dim() == 4:
            w = F.interpolate(b.permute(0, 3, 1, 2), t.shape[1:3], mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        else:
            w = F.interpolate(b.t()[None], t.shape[0], mode="linear", align_corners=False)[0].t()
        error = float((w - t).abs().max())  # PyTorch's float32 places are off by up to 1e-5
        assert w.shape == t.shape and error < 5e-5, (key, error)
        n += 1
    assert n == 9, n  # pos_embed and two tables of four global blocks
    print(n, "tables")


if __name__ == "__main__":
    {"write": write, "same": same, "features": features, "resized": resized}[sys.argv[1]](*sys.argv[2:])
