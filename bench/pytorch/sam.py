"""SAM's image encoder and mask decoder (segment-anything), and the systems on top of it: SAVE (arXiv 2407.02004) and
SAMA-AVS (arXiv 2305.11019), in PyTorch, evaluation only: the peers for timings. Keys are those of the public checkpoints.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer

SIZES = {"vit_b": (768, 12, 12, (2, 5, 8, 11)), "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
         "vit_h": (1280, 32, 16, (7, 15, 23, 31))}


class LayerNorm2d(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        x = (x - u) / ((x - u).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class WindowAttention(nn.Module):
    """Attention over a map with decomposed relative positions."""

    def __init__(self, dim, heads, side):
        super().__init__()
        self.heads, d = heads, dim // heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, d))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, d))
        at = torch.arange(side)
        self.register_buffer("at", at[:, None] - at[None] + side - 1, persistent=False)

    def forward(self, x):
        b, h, w, c = x.shape
        n, d = self.heads, c // self.heads
        q, k, v = self.qkv(x).view(b, h * w, 3, n, d).permute(2, 0, 3, 1, 4).reshape(3, b * n, h * w, d).unbind(0)
        a = (q * d ** -0.5) @ k.transpose(-2, -1)
        r = q.view(b * n, h, w, d)
        rel = (torch.einsum("bhwc,hkc->bhwk", r, self.rel_pos_h[self.at])[..., :, None] +
               torch.einsum("bhwc,wkc->bhwk", r, self.rel_pos_w[self.at])[..., None, :])
        a = (a + rel.reshape(b * n, h * w, h * w)).softmax(-1)
        return self.proj((a @ v).view(b, n, h, w, d).permute(0, 2, 3, 1, 4).reshape(b, h, w, c))


class ImageAdapter(nn.Module):
    def __init__(self, dim, ratio):
        super().__init__()
        hidden = int(dim * ratio)
        self.norm = nn.LayerNorm(dim)
        self.channel = nn.Sequential(nn.Linear(dim, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, dim, bias=False),
                                     nn.Sigmoid())
        self.spatial = nn.Sequential(nn.Conv2d(dim, dim, 3, 2, 1, bias=False), nn.ReLU(),
                                     nn.ConvTranspose2d(dim, dim, 4, 2, 1, bias=False), nn.ReLU())

    def forward(self, y):
        x = y.permute(0, 3, 1, 2)
        gate = self.channel(x.mean((2, 3)))
        return self.norm((x + self.spatial(gate[:, :, None, None] * x)).permute(0, 2, 3, 1))


class Mlp(nn.Module):
    def __init__(self, dim, hidden, act):
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(dim, hidden), nn.Linear(hidden, dim), act

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, window, grid, ratio):
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = WindowAttention(dim, heads, window or grid)
        self.mlp = Mlp(dim, 4 * dim, F.gelu)
        self.Adapter = ImageAdapter(dim, ratio) if ratio else None

    def forward(self, x):
        y, w = self.norm1(x), self.window
        if w:
            b, h, _, c = y.shape
            pad = -h % w
            k = (h + pad) // w
            y = F.pad(y, (0, 0, 0, pad, 0, pad)).view(b, k, w, k, w, c).transpose(2, 3).reshape(-1, w, w, c)
            y = self.attn(y).view(b, k, k, w, w, c).transpose(2, 3).reshape(b, k * w, k * w, c)[:, :h, :h]
        else:
            y = self.attn(y)
        x = x + y
        y = self.norm2(x)
        return x + self.mlp(y) + (self.Adapter(y) if self.Adapter else 0)


class ImageEncoder(nn.Module):
    def __init__(self, size, resolution, ratio):
        super().__init__()
        dim, depth, heads, whole = SIZES[size]
        grid = resolution // 16
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList([Block(dim, heads, 0 if i in whole else 14, grid, ratio) for i in range(depth)])
        self.neck = nn.Sequential(nn.Conv2d(dim, 256, 1, bias=False), LayerNorm2d(256),
                                  nn.Conv2d(256, 256, 3, padding=1, bias=False), LayerNorm2d(256))

    def forward(self, x, inject=None):
        x = self.patch_embed.proj(x).permute(0, 2, 3, 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x if inject is None else x + inject[i][:, None, None])
        return self.neck(x.permute(0, 3, 1, 2))


class Attention(nn.Module):
    def __init__(self, dim, inner):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q, k, v):
        q, k, v = (p(x).unflatten(2, (8, -1)).transpose(1, 2)
                   for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        a = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out_proj((a @ v).transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    def __init__(self, dim, first):
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, dim)
        self.cross_attn_token_to_image, self.cross_attn_image_to_token = Attention(dim, dim // 2), Attention(dim, dim // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim) for _ in range(4))
        self.mlp = Mlp(dim, 2048, F.relu)

    def forward(self, q, k, qpe, kpe):
        q = self.self_attn(q, q, q) if self.first else q + self.self_attn(q + qpe, q + qpe, q)
        q = self.norm1(q)
        q = self.norm2(q + self.cross_attn_token_to_image(q + qpe, k + kpe, k))
        q = self.norm3(q + self.mlp(q))
        return q, self.norm4(k + self.cross_attn_image_to_token(k + kpe, q + qpe, q))


class TwoWay(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layers = nn.ModuleList([TwoWayBlock(dim, i == 0) for i in range(2)])
        self.final_attn_token_to_image = Attention(dim, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens, k, kpe):
        q = tokens
        for layer in self.layers:
            q, k = layer(q, k, tokens, kpe)
        return self.norm_final_attn(q + self.final_attn_token_to_image(q + tokens, k + kpe, k)), k


class HyperMlp(nn.Module):
    def __init__(self, *dims):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(dims, dims[1:])])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """Mask 0 alone; the qualities of masks are not asked for."""

    def __init__(self, dim=256):
        super().__init__()
        self.transformer = TwoWay(dim)
        self.iou_token, self.mask_tokens = nn.Embedding(1, dim), nn.Embedding(4, dim)
        self.output_upscaling = nn.Sequential(nn.ConvTranspose2d(dim, dim // 4, 2, 2), LayerNorm2d(dim // 4), nn.GELU(),
                                              nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2), nn.GELU())
        self.output_hypernetworks_mlps = nn.ModuleList([HyperMlp(dim, dim, dim, dim // 8) for _ in range(4)])
        self.iou_prediction_head = HyperMlp(dim, 256, 256, 4)

    def forward(self, image, pe, sparse, dense):
        b, c, h, w = image.shape
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(b, -1, -1)
        tokens = tokens if sparse is None else torch.cat([tokens, sparse], 1)
        q, k = self.transformer(tokens, (image + dense).flatten(2).transpose(1, 2), pe)
        up = self.output_upscaling(k.transpose(1, 2).reshape(b, c, h, w))
        v = self.output_hypernetworks_mlps[0](q[:, 1])
        return (v[:, None] @ up.flatten(2)).view(b, 1, 4 * h, 4 * w)


def dense_position(matrix, grid):
    at = 2 * (torch.arange(grid) + 0.5) / grid - 1
    xy = torch.stack([at[None].expand(grid, -1), at[:, None].expand(-1, grid)], -1)
    a = 2 * math.pi * (xy @ matrix)
    return torch.cat([a.sin(), a.cos()], -1).view(1, grid * grid, -1)


class AudioAdapter(nn.Module):
    def __init__(self, dim, depth):
        super().__init__()
        self.mlps = nn.ModuleList([Mlp(128, 512, F.gelu) for _ in range(depth)])
        for m in self.mlps:
            m.lin2 = nn.Linear(512, 128)
        self.inject, self.prompt = nn.Linear(128, dim), nn.Linear(128, 256)

    def forward(self, a):
        inject = []
        for mlp in self.mlps:
            a = a + mlp(a)
            inject.append(self.inject(a))
        return inject, self.prompt(a)[:, None]


class Save(nn.Module):
    def __init__(self, size="vit_b", resolution=256, ratio=0.25, vggish=True):
        super().__init__()
        dim, depth, _, _ = SIZES[size]
        self.resolution = resolution
        self.image_encoder = ImageEncoder(size, resolution, ratio)
        self.audio_adapter = AudioAdapter(dim, depth)
        self.mask_decoder = MaskDecoder()
        self.prompt_encoder = nn.Module()
        self.prompt_encoder.pe_layer = nn.Module()
        self.prompt_encoder.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, 128))
        self.prompt_encoder.no_mask_embed = nn.Embedding(1, 256)
        self.vggish = avesformer.VGGish() if vggish else None
        self._pe = None

    def forward(self, audio, frames):
        """audio (B,1,96,64), or (B,128) without VGGish; frames (B,3,S,S) -> logits (B,1,S,S)."""
        if self._pe is None:
            self._pe = dense_position(self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix,
                                      self.resolution // 16)
        inject, sparse = self.audio_adapter(self.vggish(audio) if self.vggish else audio)
        dense = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        y = self.mask_decoder(self.image_encoder(frames, inject), self._pe, sparse, dense)
        return F.interpolate(y, size=frames.shape[2:], mode="bilinear", align_corners=False)
