"""Stage one of Stepping Stones (arXiv 2407.11820) in PyTorch with the public state_dict keys: Mask2Former with Swin-B and
adapters, queries made of audio; evaluation only, the last prediction alone is kept: the peer for timings.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer
import swin


def sine(h, w):
    """[h*w, 256]: normalised positions, y first."""
    def axis(n):
        k = torch.arange(128)
        t = 10000.0 ** (2 * torch.div(k, 2, rounding_mode="floor") / 128)
        a = ((torch.arange(n) + 1) / (n + 1e-6) * 2 * math.pi)[:, None] / t
        return torch.where(k % 2 == 0, a.sin(), a.cos())

    y, x = axis(h), axis(w)
    return torch.cat([y[:, None].expand(h, w, 128), x[None].expand(h, w, 128)], 2).reshape(h * w, 256)


def adapter():
    return nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 256))


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = avesformer.DeformableAttention(256, 8, 3, 4)
        self.self_attn.output_proj = adapter()  # stage one: the adapter in place of the projection
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(256), nn.LayerNorm(256)
        self.fc1, self.fc2 = nn.Linear(256, 1024), nn.Linear(1024, 256)

    def forward(self, x, tables):
        x = self.self_attn_layer_norm(x + self.self_attn(x + tables["position"], x, tables))
        return self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))


class PixelDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_projections = nn.ModuleList([nn.Sequential(nn.Conv2d(c, 256, 1), nn.GroupNorm(32, 256))
                                                for c in (1024, 512, 256)])
        self.level_embed = nn.Parameter(torch.zeros(3, 256))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([EncoderLayer() for _ in range(6)])
        self.adapter_1 = nn.Sequential(nn.Conv2d(128, 256, 1, bias=False), nn.GroupNorm(32, 256))
        self.layer_1 = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.GroupNorm(32, 256), nn.ReLU())
        self.mask_projection = nn.Conv2d(256, 256, 1)
        self._tables = None

    def forward(self, feats):
        maps = [p(f) for p, f in zip(self.input_projections, feats[:0:-1])]
        sizes = [tuple(m.shape[2:]) for m in maps]
        if self._tables is None:
            pos = torch.cat([sine(h, w) + e for (h, w), e in zip(sizes, self.level_embed)], 0)
            self._tables = avesformer.sampling_tables(sizes, pos.detach())
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        for layer in self.encoder.layers:
            x = layer(x, self._tables)
        parts = x.split([h * w for h, w in sizes], 1)
        fine = parts[2].transpose(1, 2).reshape(len(x), 256, *sizes[2])
        g = self.adapter_1(feats[0])
        g = g + F.interpolate(fine, size=g.shape[2:], mode="bilinear", align_corners=False)
        return self.mask_projection(self.layer_1(g)), parts, sizes


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(256, 256) for _ in range(3))
        self.avs_adapt = adapter()

    def forward(self, x, pos):
        b, n, _ = x.shape
        q, k, v = (p(y).view(b, n, 8, 32).transpose(1, 2)
                   for p, y in ((self.q_proj, x + pos), (self.k_proj, x + pos), (self.v_proj, x)))
        return self.avs_adapt(((q @ k.transpose(-1, -2) * 32 ** -0.5).softmax(-1) @ v).transpose(1, 2).reshape(b, n, 256))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.zeros(768, 256)), nn.Parameter(torch.zeros(768))
        self.out_proj = nn.Linear(256, 256)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, q, k, v, blocked):
        b, n, _ = q.shape
        q, k, v = (F.linear(x, w, c).view(b, -1, 8, 32).transpose(1, 2)
                   for x, w, c in zip((q, k, v), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)))
        a = (q @ k.transpose(-1, -2) * 32 ** -0.5).masked_fill(blocked[:, None], float("-inf"))
        return self.out_proj((a.softmax(-1) @ v).transpose(1, 2).reshape(b, n, 256))


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.cross_attn, self.self_attn = CrossAttention(), SelfAttention()
        self.cross_attn_layer_norm, self.self_attn_layer_norm, self.final_layer_norm = (nn.LayerNorm(256) for _ in range(3))
        self.fc1, self.fc2 = nn.Linear(256, 2048), nn.Linear(2048, 256)

    def forward(self, x, pos, key, value, blocked):
        x = self.cross_attn_layer_norm(x + self.cross_attn(x + pos, key, value, blocked))
        x = self.self_attn_layer_norm(x + self.self_attn(x, pos))
        return self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))


class TransformerModule(nn.Module):
    def __init__(self, queries):
        super().__init__()
        self.queries_embedder, self.queries_features = nn.Embedding(queries, 256), nn.Embedding(queries, 256)
        self.level_embed = nn.Embedding(3, 256)
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList([DecoderLayer() for _ in range(9)])
        self.decoder.layernorm = nn.LayerNorm(256)
        self.decoder.mask_predictor = nn.Module()
        self.decoder.mask_predictor.mask_embedder = nn.ModuleList([nn.Sequential(nn.Linear(256, 256)) for _ in range(3)])
        self._sine = None

    def masks(self, x, features, size):
        """(normed queries, mask logits, keys blocked at the size)."""
        y = self.decoder.layernorm(x)
        e = y
        for i, layer in enumerate(self.decoder.mask_predictor.mask_embedder):
            e = layer(e) if i == 2 else F.relu(layer(e))
        m = (e @ features.flatten(2)).view(len(x), -1, *features.shape[2:])
        if size is None:
            return y, m, None
        blocked = (F.interpolate(m, size=size, mode="bilinear", align_corners=False).sigmoid() < 0.5).flatten(2)
        return y, m, blocked & ~blocked.all(-1, keepdim=True)

    def forward(self, audio, features, parts, sizes):
        if self._sine is None:
            self._sine = [sine(h, w) for h, w in sizes]
        pos = self.queries_embedder.weight[None].expand(len(audio), -1, -1)
        near = F.cosine_similarity(pos, audio[:, None], -1, 1e-8)
        x = self.queries_features.weight + near[..., None] * audio[:, None]
        value = [p + e for p, e in zip(parts, self.level_embed.weight)]
        _, _, blocked = self.masks(x, features, sizes[0])
        for i, layer in enumerate(self.decoder.layers):
            x = layer(x, pos, value[i % 3] + self._sine[i % 3], value[i % 3], blocked)
            y, m, blocked = self.masks(x, features, sizes[(i + 1) % 3] if i < 8 else None)
        return y, m


class Aavs(nn.Module):
    def __init__(self, queries=30, num_classes=2, vggish=True):
        super().__init__()
        self.audio_proj = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 256))
        self.model = nn.Module()
        self.model.model = nn.Module()
        self.model.model.pixel_level_module = nn.Module()
        self.model.model.pixel_level_module.encoder = swin.Swin(adapters=True)
        self.model.model.pixel_level_module.decoder = PixelDecoder()
        self.model.model.transformer_module = TransformerModule(queries)
        self.model.class_predictor = nn.Linear(256, num_classes + 1)
        self.vggish = avesformer.VGGish() if vggish else None

    def forward(self, audio, frames):
        """audio (B,1,96,64), or (B,128) without VGGish; frames (B,3,H,W) -> class and mask logits."""
        m = self.model.model
        features, parts, sizes = m.pixel_level_module.decoder(m.pixel_level_module.encoder(frames))
        a = self.audio_proj(self.vggish(audio) if self.vggish else audio)
        y, masks = m.transformer_module(a, features, parts, sizes)
        return self.model.class_predictor(y), masks
