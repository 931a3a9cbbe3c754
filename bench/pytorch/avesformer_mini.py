"""avesformer_mini in PyTorch: layer for layer what models/avesformer_mini.c builds (audio encoder mel_stats), with the
same initial distributions, losses, optimiser settings and schedule. Layouts are torch's (B,C,H,W).
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# models/model.c: x / 255 - MEAN over STD.
MEAN, STD = 0.45, 0.25


class CBR(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Stage(nn.Module):
    """One residual block at stride 2."""

    def __init__(self, i, o):
        super().__init__()
        self.cbr = CBR(i, o, 2)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Conv2d(i, o, 1, 2, bias=False)
        self.bn_shortcut = nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(self.cbr(x))) + self.bn_shortcut(self.shortcut(x)), inplace=True)


def xavier_(linear):
    nn.init.xavier_uniform_(linear.weight)  # the bias keeps torch's +-1/sqrt(fan_in)
    return linear


class Attention(nn.Module):
    def __init__(self, dim, heads, bias):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim)) if bias else None
        self.out_proj = xavier_(nn.Linear(dim, dim, bias=bias))

    def forward(self, q, kv):
        b, n, c = q.shape
        wq, wk, wv = self.in_proj_weight.chunk(3)
        bq, bk, bv = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)

        def split(x, w, bias):
            return F.linear(x, w, bias).view(b, -1, self.heads, c // self.heads).transpose(1, 2)

        q, k, v = split(q, wq, bq), split(kv, wk, bk), split(kv, wv, bv)
        a = (q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)).softmax(-1)
        return self.out_proj((a @ v).transpose(1, 2).reshape(b, n, c))


class PromptLayer(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.self_attn = Attention(dim, heads, bias=False)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(xavier_(nn.Linear(dim, hidden)), nn.GELU(), xavier_(nn.Linear(hidden, dim)))
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(x, x))
        return self.norm3(x + self.ffn(x))


class CrossBlock(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.cross_attn = Attention(dim, heads, bias=True)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x, gen):
        x = self.norm1(x + self.cross_attn(x, gen))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


def up_to(x, like):
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class MaskHead(nn.Module):
    def __init__(self, dim, width, num_queries):
        super().__init__()
        self.fpn = nn.ModuleList([CBR(dim, dim), CBR(dim, dim)])
        self.mlp = nn.ModuleList([nn.Conv2d(num_queries, 2 * dim, 1), nn.Conv2d(2 * dim, dim, 1)])
        self.out = nn.ModuleList([CBR(dim, 32), CBR(32, 16)])
        self.detail = nn.Conv2d(width, 32, 1)
        self.fc = nn.Conv2d(16, 1, 1)

    def forward(self, frames, f0, n1, t2, t3, gen):
        y = t2 + self.fpn[0](up_to(t3, t2))
        y = n1 + self.fpn[1](up_to(y, n1))
        b, c, h, w = y.shape
        m = (gen @ y.flatten(2) / math.sqrt(c)).view(b, -1, h, w)
        y = self.out[0](y + self.mlp[1](F.relu(self.mlp[0](m))))
        y = self.out[1](up_to(y, f0) + self.detail(f0))
        return up_to(self.fc(y), frames)


class AVESFormerMini(nn.Module):
    def __init__(self, dim=64, width=16, heads=4, num_queries=16, blocks=2):
        super().__init__()
        w = width
        self.stem = CBR(3, w, 2)
        self.stages = nn.ModuleList([Stage(w << i, w << (i + 1)) for i in range(3)])
        self.neck = nn.ModuleList([nn.Sequential(nn.Conv2d(w << i, dim, 1), nn.GroupNorm(8, dim)) for i in (1, 2, 3)])
        self.audio_norm = nn.BatchNorm1d(128)
        self.audio_proj = nn.Linear(128, dim)
        self.query = nn.Parameter(torch.randn(num_queries, dim))
        self.prompt = PromptLayer(dim, heads, 4 * dim)
        self.mix = nn.ModuleList([CBR(dim, dim), CBR(dim, dim)])
        self.decoder = nn.ModuleList([CrossBlock(dim, heads, 4 * dim) for _ in range(blocks)])
        self.mask_head = MaskHead(dim, w, num_queries)

    def forward(self, frames, mel):
        """frames (B,3,H,W) normalised, mel (B,96,64) -> logits (B,1,H,W)."""
        std = mel.var(1, unbiased=True).add(1e-12).sqrt()
        token = self.audio_proj(self.audio_norm(torch.cat([mel.mean(1), std], 1)))[:, None]
        f0 = self.stem(frames)
        f, n = f0, []
        for stage, neck in zip(self.stages, self.neck):
            f = stage(f)
            n.append(neck(f))
        gen = self.prompt(torch.cat([token, self.query[None].expand(frames.shape[0], -1, -1)], 1))[:, 1:]
        parts = [v + mix(v) for v, mix in zip(n[1:], self.mix)]
        x = torch.cat([p.flatten(2).transpose(1, 2) for p in parts], 1)
        for block in self.decoder:
            x = block(x, gen)
        maps = [t.transpose(1, 2).reshape(p.shape) for t, p in zip(x.split([p.shape[2] * p.shape[3] for p in parts], 1), parts)]
        return self.mask_head(frames, f0, n[0], maps[0], maps[1], gen)


def loss(logits, target):
    """BCE plus Dice, each a mean over frames; target (B,1,H,W) of 0 and 1."""
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    dice = 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + dice.mean()


def optimiser(model, lr, weight_decay):
    """AdamW; tensors with one axis are not decayed."""
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": weight_decay},
              {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8)


def rate(step, steps, lr, warmup, power):
    return lr * (step + 1) / warmup if step < warmup else lr * (1 - step / steps) ** power


def iou(logits, target):
    """Per-frame IoU as in metrics/mask.h: an empty target scores the share of pixels predicted background."""
    p, t = logits.flatten(1) > 0, target.flatten(1) > 0
    inter, union = (p & t).sum(1).float(), (p | t).sum(1).float()
    return torch.where(t.any(1), inter / (union + 1e-7), (~p).float().mean(1))
