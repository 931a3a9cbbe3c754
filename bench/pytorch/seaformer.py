"""SeaFormer T, S, B, L (arXiv 2301.13156) in PyTorch with the structure and the state_dict keys that
models/backbones/seaformer.c has, without stochastic depth. The peer for timings: in evaluation the interpolated positions
are kept per length instead of being interpolated again in every forward.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

SIZES = {  # stem; blocks (kernel, factor, out, stride) of five stages; depths, key dims and MLP ratios of the stacks; heads
    "t": (16, (((3, 1, 16, 1), (3, 4, 16, 2), (3, 3, 16, 1)), ((5, 3, 32, 2), (5, 3, 32, 1)),
               ((3, 3, 64, 2), (3, 3, 64, 1)), ((5, 3, 128, 2),), ((3, 6, 160, 2),)), (2, 2), (16, 24), (2, 4), 4),
    "s": (16, (((3, 1, 16, 1), (3, 4, 24, 2), (3, 3, 24, 1)), ((5, 3, 48, 2), (5, 3, 48, 1)),
               ((3, 3, 96, 2), (3, 3, 96, 1)), ((5, 4, 160, 2),), ((3, 6, 192, 2),)), (3, 3), (16, 24), (2, 4), 6),
    "b": (16, (((3, 1, 16, 1), (3, 4, 32, 2), (3, 3, 32, 1)), ((5, 3, 64, 2), (5, 3, 64, 1)),
               ((3, 3, 128, 2), (3, 3, 128, 1)), ((5, 4, 192, 2),), ((3, 6, 256, 2),)), (4, 4), (16, 24), (2, 4), 8),
    "l": (32, (((3, 3, 32, 1), (3, 4, 64, 2), (3, 4, 64, 1)), ((5, 4, 128, 2), (5, 4, 128, 1)),
               ((3, 4, 192, 2), (3, 4, 192, 1)), ((5, 4, 256, 2),), ((3, 6, 320, 2),)), (3, 3, 3), (16, 20, 24),
          (2, 4, 6), 8),
}


class ConvBN(nn.Sequential):
    def __init__(self, c_in, c_out, k=1, stride=1, groups=1):
        super().__init__()
        self.add_module("c", nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(c_out))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, k, factor, c_out, stride):
        super().__init__()
        hidden = factor * c_in
        layers = [ConvBN(c_in, hidden), nn.ReLU(inplace=True)] if factor != 1 else []
        layers += [ConvBN(hidden, hidden, k, stride, hidden), nn.ReLU(inplace=True), ConvBN(hidden, c_out)]
        self.conv = nn.Sequential(*layers)
        self.has_sum = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.conv(x) if self.has_sum else self.conv(x)


class Position(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, dim, 16))
        self.kept = {}

    def forward(self, n):
        if self.training:
            return F.interpolate(self.pos_embed, size=n, mode="linear", align_corners=False)
        if n not in self.kept:
            self.kept[n] = F.interpolate(self.pos_embed, size=n, mode="linear", align_corners=False).detach()
        return self.kept[n]


class Attention(nn.Module):
    def __init__(self, dim, key_dim, heads):
        super().__init__()
        q, v = heads * key_dim, 2 * heads * key_dim
        self.heads, self.key_dim, self.scale = heads, key_dim, key_dim ** -0.5
        self.to_q, self.to_k, self.to_v = ConvBN(dim, q), ConvBN(dim, q), ConvBN(dim, v)
        self.proj = nn.Sequential(nn.ReLU6(), ConvBN(v, dim))
        for line in ("row", "column"):
            setattr(self, "proj_encode_" + line, nn.Sequential(nn.ReLU6(), ConvBN(v, v)))
            setattr(self, "pos_emb_" + line + "q", Position(q))
            setattr(self, "pos_emb_" + line + "k", Position(q))
        self.dwconv, self.pwconv = ConvBN(2 * q + v, 2 * q + v, 3, groups=2 * q + v), ConvBN(2 * q + v, dim)

    def among(self, line, q, k, v):
        b, _, n = q.shape
        q = (q + getattr(self, "pos_emb_" + line + "q")(n)).view(b, self.heads, self.key_dim, n).transpose(2, 3)
        k = (k + getattr(self, "pos_emb_" + line + "k")(n)).view(b, self.heads, self.key_dim, n)
        v = v.view(b, self.heads, 2 * self.key_dim, n).transpose(2, 3)
        o = (q @ k * self.scale).softmax(-1) @ v
        return o.transpose(2, 3).reshape(b, -1, n)

    def forward(self, x):
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        detail = self.pwconv(F.relu6(self.dwconv(torch.cat((q, k, v), 1))))
        row = self.proj_encode_row(self.among("row", q.mean(-1), k.mean(-1), v.mean(-1)).unsqueeze(-1))
        column = self.proj_encode_column(self.among("column", q.mean(-2), k.mean(-2), v.mean(-2)).unsqueeze(-2))
        return F.hardsigmoid(self.proj(v + (row + column))) * detail


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = ConvBN(dim, hidden), ConvBN(hidden, dim)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x):
        return self.fc2(F.relu6(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, dim, key_dim, heads, ratio):
        super().__init__()
        self.attn, self.mlp = Attention(dim, key_dim, heads), Mlp(dim, dim * ratio)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class SeaFormer(nn.Module):
    def __init__(self, variant):
        super().__init__()
        c, stages, depths, key_dims, ratios, heads = SIZES[variant]
        self.first_stack = 5 - len(depths)
        for i, blocks in enumerate(stages):
            smb = nn.Module()
            if i == 0:
                smb.stem_block = nn.Sequential(ConvBN(3, c, 3, 2), nn.ReLU(inplace=True))
            for j, (k, factor, out, stride) in enumerate(blocks):
                smb.add_module("layer%d" % (j + 1), InvertedResidual(c, k, factor, out, stride))
                c = out
            self.add_module("smb%d" % (i + 1), smb)
            n = i - self.first_stack
            if n >= 0:
                trans = nn.Module()
                trans.transformer_blocks = nn.ModuleList(
                    Block(c, key_dims[n], heads, ratios[n]) for _ in range(depths[n]))
                self.add_module("trans%d" % (n + 1), trans)

    def forward(self, x):
        out = []
        for i in range(5):
            for layer in getattr(self, "smb%d" % (i + 1)).children():
                x = layer(x)
            if i >= self.first_stack:
                for block in getattr(self, "trans%d" % (i - self.first_stack + 1)).transformer_blocks:
                    x = block(x)
            if i == 1 or i >= self.first_stack:
                out.append(x)
        return out
