"""AVSBench's baseline with TPAVI (arXiv 2207.05042) for S4 and MS3 in PyTorch with the public state_dict keys, ResNet-50,
evaluation only: the peer for timings. The product over all pairs of places is regrouped as ours is, which is exact and kind to
the peer: as published it would build a matrix of (T h w)^2.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer


class Dilated(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv2d_list = nn.ModuleList([nn.Conv2d(c, 256, 3, padding=r, dilation=r) for r in (3, 6, 12, 18)])

    def forward(self, x):
        return sum(conv(x) for conv in self.conv2d_list)


class TPAVI(nn.Module):
    def __init__(self):
        super().__init__()
        self.align_channel = nn.Linear(128, 256)
        self.theta, self.phi, self.g = (nn.Conv3d(256, 128, 1) for _ in range(3))
        self.W_z = nn.Sequential(nn.Conv3d(128, 256, 1), nn.BatchNorm3d(256))
        self.norm_layer = nn.LayerNorm(256)

    def forward(self, x, a):
        """x (B,256,T,h,w), a (B,T,128)."""
        b, c, t, h, w = x.shape
        a = self.align_channel(a).transpose(1, 2)[..., None, None]
        phi = self.phi(a).flatten(2)                       # B,128,T
        total = self.g(x).sum((3, 4))                      # B,128,T
        pair = phi @ total.transpose(1, 2) / (t * h * w)   # B,128,128
        y = (pair.transpose(1, 2) @ self.theta(x).flatten(2)).view(b, 128, t, h, w)
        z = self.W_z(y) + x
        return self.norm_layer(z.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(256, 256, 3, padding=1), nn.Conv2d(256, 256, 3, padding=1)

    def forward(self, x):
        r = F.relu(x)
        return self.conv2(F.relu(self.conv1(r))) + r


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = Unit(), Unit()

    def forward(self, s, lateral=None):
        s = s if lateral is None else s + self.resConfUnit1(lateral)
        return F.interpolate(self.resConfUnit2(s), scale_factor=2, mode="bilinear", align_corners=True)


class Up(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Baseline(nn.Module):
    def __init__(self, num_classes=1, vggish=True):
        super().__init__()
        self.resnet = avesformer.ResNetFeatures("resnet50")
        self.vggish = avesformer.VGGish() if vggish else None
        for i, c in enumerate((256, 512, 1024, 2048), 1):
            setattr(self, "conv%d" % i, Dilated(c))
            setattr(self, "tpavi_b%d" % i, TPAVI())
            setattr(self, "path%d" % i, Fusion())
        self.output_conv = nn.Sequential(nn.Conv2d(256, 128, 3, padding=1), Up(), nn.Conv2d(128, 32, 3, padding=1), nn.ReLU(),
                                         nn.Conv2d(32, num_classes, 1))

    def forward(self, audio, frames, t=1):
        """audio (B*T,1,96,64), or (B*T,128) without VGGish; frames (B*T,3,H,W) -> logits (B*T,1,H,W)."""
        a = (self.vggish(audio) if self.vggish else audio).view(-1, t, 128)
        y = None
        feats = self.resnet(frames)
        for i in (4, 3, 2, 1):
            x = getattr(self, "conv%d" % i)(feats[i - 1])
            x = x.view(-1, t, *x.shape[1:]).transpose(1, 2)
            z = getattr(self, "tpavi_b%d" % i)(x, a).transpose(1, 2).flatten(0, 1)
            path = getattr(self, "path%d" % i)
            y = path(z) if y is None else path(y, z)
        return self.output_conv(y)
