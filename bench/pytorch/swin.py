"""Swin-B with window 12 (arXiv 2103.14030) in PyTorch, with the keys and the optional adapters of Stepping Stones' backbone,
evaluation only: the peer for timings. Windows are never made smaller than 12, as there.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

W = 12


def adapter(dim):
    return nn.Sequential(nn.Linear(dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, dim))


def relative_index():
    at = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(W), indexing="ij")).flatten(1)
    d = at[:, :, None] - at[:, None] + W - 1
    return d[0] * (2 * W - 1) + d[1]


def windows(x):
    b, h, w, c = x.shape
    return x.view(b, h // W, W, w // W, W, c).transpose(2, 3).reshape(-1, W * W, c)


def shift_mask(h, w, shift):
    ids = torch.zeros(1, h, w, 1)
    for n, (top, bottom) in enumerate(((0, h - W), (h - W, h - shift), (h - shift, h))):
        for m, (left, right) in enumerate(((0, w - W), (w - W, w - shift), (w - shift, w))):
            ids[:, top:bottom, left:right] = 3 * n + m
    ids = windows(ids).squeeze(-1)
    return torch.where(ids[:, None] == ids[:, :, None], 0.0, -100.0)


class Heads(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * W - 1) ** 2, heads))
        self.register_buffer("index", relative_index(), persistent=False)

    def forward(self, x, mask):
        b, n, c = x.shape
        q, k, v = (p(x).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        a = q @ k.transpose(-1, -2) / (c // self.heads) ** 0.5
        a = a + self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if mask is not None:
            a = (a.view(-1, len(mask), self.heads, n, n) + mask[None, :, None]).view(b, self.heads, n, n)
        return (a.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)


class Dense(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.dense = nn.Linear(a, b)


class Block(nn.Module):
    def __init__(self, dim, heads, shift, adapters):
        super().__init__()
        self.shift, self.masks = shift, {}
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.Module()
        self.attention.self = Heads(dim, heads)
        self.attention.output = Dense(dim, dim)
        self.intermediate, self.output = Dense(dim, 4 * dim), Dense(4 * dim, dim)
        if adapters:
            self.attention.output.swin_adapt_1 = adapter(dim)
            self.output.swin_adapt_3 = adapter(dim)
        self.adapters = adapters

    def forward(self, x):
        b, h, w, c = x.shape
        s = self.shift
        y = F.pad(self.layernorm_before(x), (0, 0, 0, -w % W, 0, -h % W))
        hp, wp = y.shape[1:3]
        mask = None
        if s:
            if (hp, wp) not in self.masks:
                self.masks[hp, wp] = shift_mask(hp, wp, s)
            y, mask = y.roll((-s, -s), (1, 2)), self.masks[hp, wp]
        o = self.attention.output.dense(self.attention.self(windows(y), mask))
        if self.adapters:
            o = o + self.attention.output.swin_adapt_1(o)
        o = o.view(b, hp // W, wp // W, W, W, c).transpose(2, 3).reshape(b, hp, wp, c)
        x = x + (o.roll((s, s), (1, 2)) if s else o)[:, :h, :w]
        m = self.output.dense(F.gelu(self.intermediate.dense(self.layernorm_after(x))))
        return x + (m + self.output.swin_adapt_3(m) if self.adapters else m)


class Merging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x))


class Swin(nn.Module):
    def __init__(self, adapters=False):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.patch_embeddings = nn.Module()
        self.embeddings.patch_embeddings.projection = nn.Conv2d(3, 128, 4, 4)
        self.embeddings.norm = nn.LayerNorm(128)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList()
        self.hidden_states_norms = nn.ModuleDict()
        for i, (depth, heads) in enumerate(zip((2, 2, 18, 2), (4, 8, 16, 32))):
            stage = nn.Module()
            stage.blocks = nn.ModuleList([Block(128 << i, heads, W // 2 * (j % 2), adapters) for j in range(depth)])
            if i < 3:
                stage.downsample = Merging(128 << i)
            self.encoder.layers.append(stage)
            self.hidden_states_norms["stage%d" % (i + 1)] = nn.LayerNorm(128 << i)

    def forward(self, x):
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        x = self.embeddings.norm(self.embeddings.patch_embeddings.projection(x).permute(0, 2, 3, 1))
        out = []
        for i, stage in enumerate(self.encoder.layers):
            for block in stage.blocks:
                x = block(x)
            out.append(self.hidden_states_norms["stage%d" % (i + 1)](x).permute(0, 3, 1, 2))
            if i < 3:
                x = stage.downsample(x)
        return out
