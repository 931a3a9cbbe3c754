"""AVESFormer (arXiv 2408.01708) in PyTorch, with the structure that models/avesformer.c builds (docs/models.md):
default configuration, evaluation only. The peer for timings, so it is written to be quick in eager mode: tables that
depend on the input size alone are made once.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}


class ResNetFeatures(nn.Module):
    """torchvision ResNet without its classifier: maps at strides 4, 8, 16, 32."""

    def __init__(self, name):
        super().__init__()
        import torchvision.models as tv
        net = getattr(tv, name)()
        for k in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, k, getattr(net, k))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        out = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            out.append(x)
        return out


class VGGish(nn.Module):
    def __init__(self):
        super().__init__()
        seq, c = [], 1
        for v in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0):
            if v == 0:
                seq.append(nn.MaxPool2d(2, 2))
            else:
                seq += [nn.Conv2d(c, v, 3, padding=1), nn.ReLU(inplace=True)]
                c = v
        self.features = nn.Sequential(*seq)
        self.embeddings = nn.Sequential(nn.Linear(12288, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096),
                                        nn.ReLU(inplace=True), nn.Linear(4096, 128), nn.ReLU(inplace=True))

    def forward(self, x):
        return self.embeddings(self.features(x).permute(0, 2, 3, 1).flatten(1))


class Attention(nn.Module):
    """Multi-head attention with one packed projection, as state_dicts of nn.MultiheadAttention have it."""

    def __init__(self, dim, heads, bias=True):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim)) if bias else None
        self.out_proj = nn.Linear(dim, dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, q, kv):
        b, n, c = q.shape
        wq, wk, wv = self.in_proj_weight.chunk(3)
        bq, bk, bv = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)

        def split(x, w, bias):
            return F.linear(x, w, bias).view(b, -1, self.heads, c // self.heads).transpose(1, 2)

        q, k, v = split(q, wq, bq), split(kv, wk, bk), split(kv, wv, bv)
        a = (q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)).softmax(-1)
        return self.out_proj((a @ v).transpose(1, 2).reshape(b, n, c))


class DeformableAttention(nn.Module):
    def __init__(self, dim, heads, levels, points):
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.sampling_offsets.weight)
        theta = torch.arange(heads) * (2 * math.pi / heads)
        d = torch.stack([theta.cos(), theta.sin()], -1)
        d = d / d.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, points + 1).view(1, 1, -1, 1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((d[:, None, None, :] * steps).expand(-1, levels, -1, -1).reshape(-1))

    def forward(self, query, x, tables):
        b, n, c = query.shape
        h, l, p, d = self.heads, self.levels, self.points, c // self.heads
        value = self.value_proj(x).view(b, n, h, d)
        off = self.sampling_offsets(query).view(b, n, h, l, p, 2)
        w = self.attention_weights(query).view(b, n, h, l * p).softmax(-1).view(b, n, h, l, p)
        out, start = 0, 0
        for i, (hh, ww) in enumerate(tables["sizes"]):
            v = value[:, start:start + hh * ww].permute(0, 2, 3, 1).reshape(b * h, d, hh, ww)
            start += hh * ww
            # grid = 2 (ref + off / size) - 1
            grid = tables["grid"] + off[:, :, :, i] * tables["pixel"][i]
            grid = grid.transpose(1, 2).reshape(b * h, n, p, 2)
            s = F.grid_sample(v, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            out = out + (s * w[:, :, :, i].transpose(1, 2).reshape(b * h, 1, n, p)).sum(-1)
        return self.output_proj(out.view(b, h * d, n).transpose(1, 2))


class PromptLayer(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.self_attn = Attention(dim, heads, bias=False)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(x, x))
        return self.norm3(x + self.ffn(x))


class Generator(nn.Module):
    """Prompt query generator: [audio | queries] through self-attention, the audio token dropped at the end."""

    def __init__(self, dim, heads, n, layers, hidden):
        super().__init__()
        self.query = nn.Parameter(torch.empty(n, dim))
        self.layers = nn.ModuleList([PromptLayer(dim, heads, hidden) for _ in range(layers)])
        nn.init.xavier_uniform_(self.query)

    def forward(self, audio):
        x = torch.cat([audio, self.query[None].expand(audio.shape[0], -1, -1)], 1)
        for layer in self.layers:
            x = layer(x)
        return x[:, 1:]


class Block(nn.Module):
    """'T': deformable self-attention, cross-attention to the generated queries, FFN. 'C': a 3x3 convolution per level
    in place of the attentions."""

    def __init__(self, kind, dim, heads, levels, points, ffn_dim):
        super().__init__()
        self.kind = kind
        if kind == "C":
            self.conv = nn.ModuleList([nn.Conv2d(dim, dim, 3, padding=1) for _ in range(levels)])
        else:
            self.self_attn = DeformableAttention(dim, heads, levels, points)
            self.fuse = Attention(dim, heads)
            self.norm2 = nn.LayerNorm(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x, gen, tables):
        if self.kind == "C":
            b, _, c = x.shape
            parts = x.split([h * w for h, w in tables["sizes"]], 1)
            y = torch.cat([conv(p.transpose(1, 2).reshape(b, c, h, w)).flatten(2).transpose(1, 2)
                           for conv, p, (h, w) in zip(self.conv, parts, tables["sizes"])], 1)
            x = self.norm1(x + y)
        else:
            x = self.norm1(x + self.self_attn(x + tables["position"], x, tables))
            x = self.norm2(x + self.fuse(x, gen))
        return self.norm3(x + self.linear2(F.gelu(self.linear1(x))))


class MaskHead(nn.Module):
    def __init__(self, dim, nq, mlp_dim, num_classes):
        super().__init__()
        self.fpn = nn.ModuleList([nn.Conv2d(dim, dim, 3, padding=1) for _ in range(3)])
        self.lateral = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.GroupNorm(32, dim))
        out = []
        for _ in range(2):
            out += [nn.Conv2d(dim, dim, 3, padding=1), nn.GroupNorm(32, dim), nn.ReLU(inplace=True)]
        self.out = nn.Sequential(*out)
        self.mlp = nn.ModuleList([nn.Conv2d(nq, mlp_dim, 1), nn.Conv2d(mlp_dim, mlp_dim, 1), nn.Conv2d(mlp_dim, dim, 1)])
        self.fc = nn.ModuleList([nn.Conv2d(dim, 128, 3, padding=1), nn.Conv2d(128, 32, 3, padding=1),
                                 nn.Conv2d(32, num_classes, 1, bias=False)])

    def forward(self, maps, quarter, gen):
        def up(x, s):
            return F.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False)

        p8, p16, p32 = maps
        y = self.fpn[0](up(p32, 2)) + p16
        y = self.fpn[1](up(y, 2)) + p8
        y = self.out(self.fpn[2](up(y, 2)) + self.lateral(quarter))
        b, c, h, w = y.shape
        q = (gen @ y.flatten(2)).view(b, -1, h, w)
        q = self.mlp[2](F.relu(self.mlp[1](F.relu(self.mlp[0](q)))))
        return self.fc[2](F.relu(self.fc[1](up(self.fc[0](y + q), 4))))


def sine_position(h, w, dim):
    """(h*w, dim): first half y, second half x; positions 1..h and 1..w, not normalised."""
    half = dim // 2
    i = torch.arange(half, dtype=torch.float32)
    freq = 10000.0 ** (2 * torch.div(i, 2, rounding_mode="floor") / half)

    def axis(n):
        a = torch.arange(1, n + 1, dtype=torch.float32)[:, None] / freq
        return torch.stack([a[:, 0::2].sin(), a[:, 1::2].cos()], 2).flatten(1)

    y, x = axis(h), axis(w)
    return torch.cat([y[:, None].expand(h, w, half), x[None].expand(h, w, half)], 2).reshape(h * w, dim)


def sampling_tables(sizes, position):
    """What deformable attention over levels of these sizes reads: positions, reference grid, pixel sizes."""
    ref = torch.cat([torch.stack([(torch.arange(w) + 0.5).repeat(h) / w, (torch.arange(h) + 0.5).repeat_interleave(w) / h], 1)
                     for h, w in sizes], 0)
    return {"sizes": sizes, "position": position[None], "grid": (2 * ref - 1)[None, :, None, None, :],
            "pixel": [torch.tensor([2.0 / w, 2.0 / h]) for h, w in sizes]}


class AVESFormer(nn.Module):
    def __init__(self, backbone="resnet18", dim=256, heads=8, levels=3, points=4, num_queries=16, resolution=224):
        super().__init__()
        self.backbone = ResNetFeatures(backbone)
        self.vggish = VGGish()
        self.audio_proj = nn.Linear(128, dim)
        self.neck = nn.ModuleList([nn.Sequential(nn.Conv2d(ch, dim, 3, padding=1), nn.GroupNorm(32, dim))
                                   for ch in CHANNELS[backbone]])
        self.level_embed = nn.Parameter(torch.randn(levels, dim))
        self.generator = Generator(dim, heads, num_queries, 3, 1024)
        self.decoder = nn.ModuleList([Block(s, dim, heads, levels, points, 2048) for s in "CCTTTT"])
        self.mask_head = MaskHead(dim, num_queries, 2048, 1)
        self.sizes = [(resolution // s, resolution // s) for s in (8, 16, 32)][:levels]
        self.dim = dim
        self._tables = None

    def tables(self):
        """What depends on the input size and on parameters alone: positions, reference grid, pixel sizes."""
        if self._tables is None:
            with torch.no_grad():
                pos = torch.cat([sine_position(h, w, self.dim) + e for (h, w), e in zip(self.sizes, self.level_embed)], 0)
                self._tables = sampling_tables(self.sizes, pos)
        return self._tables

    def forward(self, audio, frames):
        """audio (B,1,96,64), frames (B,3,H,W) -> logits (B,1,H,W)."""
        tables = self.tables()
        token = self.audio_proj(self.vggish(audio))[:, None]
        feats = [n(f) for n, f in zip(self.neck, self.backbone(frames))]
        gen = self.generator(token)
        x = torch.cat([f.flatten(2).transpose(1, 2) for f in feats[1:]], 1)
        for block in self.decoder:
            x = block(x, gen, tables)
        maps = [p.transpose(1, 2).reshape(p.shape[0], -1, h, w)
                for p, (h, w) in zip(x.split([h * w for h, w in self.sizes], 1), self.sizes)]
        return self.mask_head(maps, feats[0], gen)
