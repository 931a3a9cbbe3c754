"""LightAVSeg (arXiv 2605.08805) in PyTorch with the state_dict keys that models/lightavseg.c has; default options, evaluation
only: the peer for timings.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import backbones
import seaformer

WIDTHS = {"l": ((64, 128, 192, 256), 320, 512), "b": ((32, 64, 128, 192), 256, 256), "s": ((24, 48, 96, 160), 192, 192),
          "t": ((16, 32, 64, 128), 160, 128)}


def conv1(a, b):
    return nn.Conv2d(a, b, 1)


def peak(x):
    return x.amax((2, 3), keepdim=True)


def resize(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class LightAVSeg(nn.Module):
    def __init__(self, size="l", num_classes=1):
        super().__init__()
        c, deepest, d = WIDTHS[size]
        self.audio = backbones.MobileNetV2()
        self.visual = seaformer.SeaFormer(size)
        self.enc_audio = nn.ModuleList([conv1(a, b) for a, b in zip((1024,) + c, c)])
        self.enc_gate = nn.ModuleList([conv1(a, a) for a in c])
        self.ctx = nn.Module()
        self.ctx.local, self.ctx.glob = seaformer.ConvBN(c[3], c[3]), seaformer.ConvBN(deepest, c[3])
        self.lateral = nn.ModuleList([seaformer.ConvBN(a, d) for a in c])
        self.mix = nn.ModuleList([conv1(a + (d if i < 3 else 0), d) for i, a in enumerate(c)])
        self.gate = nn.ModuleList([conv1(a, d) for a in c])
        self.inject = nn.ModuleList([conv1(d, d) for _ in c])
        self.head_dw = seaformer.ConvBN(d, d, 3, 1, d)
        self.head_pw = seaformer.ConvBN(d, 64)
        self.head_cls = conv1(64, num_classes)

    def stage(self, i, x):
        for layer in getattr(self.visual, "smb%d" % (i + 1)).children():
            x = layer(x)
        if i >= self.visual.first_stack:
            for block in getattr(self.visual, "trans%d" % (i - self.visual.first_stack + 1)).transformer_blocks:
                x = block(x)
        return x

    def forward(self, audio, frames):
        """audio (B,1,96,64), frames (B,3,H,W) -> logits (B,K,H,W)."""
        a, x, sound, seen = self.audio(audio)[:, :, None, None], frames, [], []
        for i in range(4):
            x = self.stage(i, x)
            a = self.enc_audio[i](a) * F.hardsigmoid(self.enc_gate[i](peak(x)))
            x = x + a
            sound.append(a)
            seen.append(x)
        seen[3] = self.ctx.local(x) * resize(F.hardsigmoid(self.ctx.glob(self.stage(4, x))), x)
        state = above = None
        for i in (3, 2, 1, 0):
            e = seen[i]
            p = self.lateral[i](e)
            if above is not None:
                p = p + resize(above, e)
            state = F.relu(self.mix[i](sound[i] if state is None else torch.cat([state, sound[i]], 1)))
            state = state * F.hardsigmoid(self.gate[i](peak(e)))
            above = p + self.inject[i](state)
        y = F.relu(self.head_pw(F.relu(self.head_dw(above))))
        return F.interpolate(self.head_cls(y), size=frames.shape[2:], mode="bilinear", align_corners=False)
