"""PVTv2 b0..b5 (arXiv 2106.13797) in PyTorch with the structure that models/backbones/pvt_v2.c builds: feature maps at
strides 4, 8, 16, 32, no stochastic depth. The peer for timings.
"""
import torch.nn as nn
import torch.nn.functional as F

SIZES = {  # widths, depths, MLP ratios, heads
    0: ((32, 64, 160, 256), (2, 2, 2, 2), (8, 8, 4, 4)),
    1: ((64, 128, 320, 512), (2, 2, 2, 2), (8, 8, 4, 4)),
    2: ((64, 128, 320, 512), (3, 4, 6, 3), (8, 8, 4, 4)),
    3: ((64, 128, 320, 512), (3, 4, 18, 3), (8, 8, 4, 4)),
    4: ((64, 128, 320, 512), (3, 8, 27, 3), (8, 8, 4, 4)),
    5: ((64, 128, 320, 512), (3, 6, 40, 3), (4, 4, 4, 4)),
}
HEADS, REDUCTION = (1, 2, 5, 8), (8, 4, 2, 1)


class Attention(nn.Module):
    def __init__(self, dim, heads, sr):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, sr, sr) if sr > 1 else None
        self.norm = nn.LayerNorm(dim) if sr > 1 else None

    def forward(self, x, h, w):
        b, n, c = x.shape
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        if self.sr is not None:
            x = self.norm(self.sr(x.transpose(1, 2).reshape(b, c, h, w)).flatten(2).transpose(1, 2))
        k, v = self.kv(x).view(b, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x, h, w):
        x = self.fc1(x)
        b, n, c = x.shape
        x = self.dwconv(x.transpose(1, 2).reshape(b, c, h, w)).flatten(2).transpose(1, 2)
        return self.fc2(F.gelu(x))


class Block(nn.Module):
    def __init__(self, dim, heads, sr, ratio):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads, sr), Mlp(dim, dim * ratio)

    def forward(self, x, h, w):
        x = x + self.attn(self.norm1(x), h, w)
        return x + self.mlp(self.norm2(x), h, w)


class Stage(nn.Module):
    def __init__(self, c_in, dim, depth, ratio, heads, sr):
        super().__init__()
        first = c_in == 3
        self.proj = nn.Conv2d(c_in, dim, 7 if first else 3, 4 if first else 2, 3 if first else 1)
        self.embed_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(Block(dim, heads, sr, ratio) for _ in range(depth))

    def forward(self, x):
        x = self.proj(x)
        b, c, h, w = x.shape
        x = self.embed_norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, h, w)
        return self.norm(x).transpose(1, 2).reshape(b, c, h, w)


class PVTv2(nn.Module):
    def __init__(self, b):
        super().__init__()
        dims, depths, ratios = SIZES[b]
        self.stages = nn.ModuleList(
            Stage(3 if i == 0 else dims[i - 1], dims[i], depths[i], ratios[i], HEADS[i], REDUCTION[i])
            for i in range(4))

    def forward(self, x):
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out
