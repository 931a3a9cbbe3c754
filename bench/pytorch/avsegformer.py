"""AVSegFormer (arXiv 2307.01146) in PyTorch, variants `paper` and `released`, without the auxiliary branch, evaluation only:
the peer for timings. Keys are those of the public state_dict, so that golden weights load; deformable attention by
grid_sample, as the public code does where its CUDA kernel is missing.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer
import pvt_v2

CHANNELS = {"resnet50": (256, 512, 1024, 2048), "pvt_v2_b5": (64, 128, 320, 512)}


class EncoderLayer(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.self_attn = avesformer.DeformableAttention(dim, 8, 3, 4)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x, tables):
        x = self.norm1(x + self.self_attn(x + tables["position"], x, tables))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class DecoderLayer(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.self_attn = avesformer.Attention(dim, 8)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn = avesformer.Attention(dim, 8)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, q, memory):
        q = self.norm1(q + self.self_attn(q, q))
        q = self.norm2(q + self.cross_attn(q, memory))
        return self.norm3(q + self.linear2(F.gelu(self.linear1(q))))


class Transformer(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.layers = nn.ModuleList([EncoderLayer(dim, hidden) for _ in range(6)])
        self.decoder.layers = nn.ModuleList([DecoderLayer(dim, hidden) for _ in range(6)])


class GeneratorLayer(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.self_attn, self.cross_attn = (avesformer.Attention(dim, 8, bias=False) for _ in range(2))
        self.ffn = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(self, g, a):
        g = self.norm1(g + self.self_attn(g, g))
        g = self.norm2(g + self.cross_attn(g, a))
        return self.norm3(g + self.ffn(g))


class Generator(nn.Module):
    def __init__(self, dim, n):
        super().__init__()
        self.query = nn.Embedding(n, dim)
        self.layers = nn.ModuleList([GeneratorLayer(dim, 1024) for _ in range(6)])

    def forward(self, a):
        g = self.query.weight[None].expand(a.shape[0], -1, -1)
        for layer in self.layers:
            g = layer(g, a)
        return g


class Mixer(nn.Module):
    """CHA as coded: one audio query over all pixels gives a gate per channel."""

    def __init__(self, dim):
        super().__init__()
        self.q_proj, self.kv_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, m, a):
        b, c, h, w = m.shape
        k, v = self.kv_proj(m.flatten(2).transpose(1, 2)).view(b, h * w, 2, 8, c // 8).permute(2, 0, 3, 1, 4)
        q = self.q_proj(a).view(b, 1, 8, c // 8).transpose(1, 2)
        p = (q @ k.transpose(-1, -2) * (c // 8) ** -0.5).softmax(-1)
        return m * self.proj((p @ v).transpose(1, 2).reshape(b, c)).sigmoid()[:, :, None, None]


class Up(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


class MLP(nn.Module):
    def __init__(self, n, hidden, dim):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(n, hidden, 1), nn.Conv2d(hidden, hidden, 1), nn.Conv2d(hidden, dim, 1)])

    def forward(self, x):
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](x)))))


def conv_norm(cin, cout, k, *more):
    return nn.Sequential(nn.Conv2d(cin, cout, k, padding=k // 2), nn.GroupNorm(32, cout), *more)


def upsampling(dim, classes):
    return nn.Sequential(nn.Conv2d(dim, 128, 3, padding=1), Up(), nn.Conv2d(128, 32, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(32, classes, 1, bias=False))


class Head(nn.Module):
    def __init__(self, channels, dim, queries, classes, released):
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(3, dim))
        self.learnable_query = nn.Embedding(queries, dim)
        self.in_proj = nn.ModuleList([conv_norm(c, dim, 1) for c in channels])
        self.transformer = Transformer(dim, 2048)
        self.mlp = MLP(queries, 2048, dim)
        self.fusion_block = Mixer(dim)
        self.lateral_conv = conv_norm(dim, dim, 1)
        self.out_conv = conv_norm(dim, dim, 3, nn.ReLU())
        self.fpn = nn.Module()
        for name in ("up1", "up2", "up3"):  # the auxiliary branch: parameters alone
            setattr(self.fpn, name, nn.Sequential(nn.Identity(), nn.Conv2d(dim, dim, 3, padding=1)))
        self.attn_fc = upsampling(dim, classes)
        self.fc = upsampling(dim, classes)
        self.query_generator = Generator(dim, queries) if released else None
        self._tables = None

    def tables(self, sizes):
        if self._tables is None:
            with torch.no_grad():
                dim = self.level_embed.shape[1]
                pos = torch.cat([avesformer.sine_position(h, w, dim) + e for (h, w), e in zip(sizes, self.level_embed)], 0)
                self._tables = avesformer.sampling_tables(sizes, pos)
        return self._tables

    def forward(self, feats, a):
        x = [p(f) for p, f in zip(self.in_proj, feats)]
        sizes = [tuple(f.shape[2:]) for f in x[1:]]
        tables = self.tables(sizes)
        memory = torch.cat([f.flatten(2).transpose(1, 2) for f in x[1:]], 1)
        for layer in self.transformer.encoder.layers:
            memory = layer(memory, tables)
        q = self.query_generator(a) if self.query_generator else a.expand(-1, self.learnable_query.weight.shape[0], -1)
        q = q + self.learnable_query.weight
        for layer in self.transformer.decoder.layers:
            q = layer(q, memory)
        h, w = sizes[0]
        top = memory[:, :h * w].transpose(1, 2).reshape(len(memory), -1, h, w)
        m = self.lateral_conv(x[0]) + F.interpolate(top, size=x[0].shape[2:], mode="bilinear", align_corners=False)
        m = self.fusion_block(self.out_conv(m), a)
        e = (q @ m.flatten(2)).view(len(m), -1, *m.shape[2:])
        return self.fc(m + self.mlp(e))


class AVSegFormer(nn.Module):
    def __init__(self, backbone="resnet50", variant="paper", num_queries=300, num_classes=1, vggish=True):
        super().__init__()
        self.backbone = avesformer.ResNetFeatures(backbone) if backbone.startswith("resnet") else pvt_v2.PVTv2(5)
        self.vggish = avesformer.VGGish() if vggish else None
        self.head = Head(CHANNELS[backbone], 256, num_queries, num_classes, variant == "released")
        self.audio_proj = nn.Linear(128, 256)

    def forward(self, audio, frames):
        """audio (B,1,96,64), or (B,128) without VGGish; frames (B,3,H,W) -> logits (B,K,H,W)."""
        a = self.vggish(audio) if self.vggish else audio
        return self.head(self.backbone(frames), self.audio_proj(a)[:, None])
