"""Cases of AVSBench's TPAVI: the peer's modules with stages, visual attention, masks of frames and every loss; the product over
all pairs of places is built whole here, as published.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import cases
import tpavi as peer


class Dilated(nn.Module):
    def __init__(self, c, dim):
        super().__init__()
        self.conv2d_list = nn.ModuleList([nn.Conv2d(c, dim, 3, padding=r, dilation=r) for r in (3, 6, 12, 18)])

    def forward(self, x):
        return sum(conv(x) for conv in self.conv2d_list)


class Pairs(nn.Module):
    def __init__(self, dim, bias):
        super().__init__()
        half = dim // 2
        self.align_channel = nn.Linear(128, dim, bias=bias)
        self.theta, self.phi, self.g = (nn.Conv3d(dim, half, 1) for _ in range(3))
        self.W_z = nn.Sequential(nn.Conv3d(half, dim, 1), nn.BatchNorm3d(dim))
        self.norm_layer = nn.LayerNorm(dim)

    def forward(self, x, a=None):
        b, c, t, h, w = x.shape
        if a is not None:
            a = self.align_channel(a)
        other = x if a is None else a.transpose(1, 2)[..., None, None].expand(-1, -1, -1, h, w)
        f = self.theta(x).flatten(2).transpose(1, 2) @ self.phi(other).flatten(2) / (t * h * w)
        y = (f @ self.g(x).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(b, c // 2, t, h, w)
        made = self.W_z(y)
        if a is not None:
            self.replication = cases.replication(made.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1))
        z = made + x
        return self.norm_layer(z.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3), a


class Unit(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(dim, dim, 3, padding=1), nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, r):
        """r is relu(x) already: the reference overwrites x with it."""
        return self.conv2(F.relu(self.conv1(r))) + r


class Fusion(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = Unit(dim), Unit(dim)

    def forward(self, s, lateral=None):
        s = s if lateral is None else s + self.resConfUnit1(lateral)
        return F.interpolate(self.resConfUnit2(F.relu(s)), scale_factor=2, mode="bilinear", align_corners=True)


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        b, dim = c["backbone"], c["embed_dim"]
        self.c = c
        self.pyramid = "resnet" if b == "resnet50" else "encoder_backbone"
        net, channels, rename = cases.features(b)
        self.rename = lambda k: rename(k.replace("encoder_backbone.", "backbone.")).replace("backbone.", "encoder_backbone.")
        setattr(self, self.pyramid, net)
        for i, k in enumerate(channels, 1):
            setattr(self, "conv%d" % i, Dilated(k, dim))
            setattr(self, "path%d" % i, Fusion(dim))
            if i - 1 in c["tpavi_stages"]:
                setattr(self, "tpavi_b%d" % i, Pairs(dim, c["task"] != "avss"))
        self.output_conv = nn.Sequential(nn.Conv2d(dim, 128, 3, padding=1), peer.Up(), nn.Conv2d(128, 32, 3, padding=1), nn.ReLU(),
                                         nn.Conv2d(32, c["num_classes"], 1))

    def forward(self, audio, frames, flag):
        c, t = self.c, self.c["frames"]
        by = (lambda x: x) if flag is None else (lambda x: x * flag.view(-1, 1, 1, 1))
        a = (audio if flag is None else audio * flag[:, None]).view(-1, t, 128)
        feats = getattr(self, self.pyramid)(frames)
        maps, heard = [], []
        for i in range(4):
            x = by(getattr(self, "conv%d" % (i + 1))(feats[i]))
            z, seen = x, None
            if i in c["tpavi_stages"]:
                x3 = x.view(-1, t, *x.shape[1:]).transpose(1, 2)
                module, parts = getattr(self, "tpavi_b%d" % (i + 1)), []
                if c["tpavi_audio_visual"]:
                    y, seen = module(x3, a)
                    parts.append(by(y.transpose(1, 2).flatten(0, 1)))
                if c["tpavi_visual_visual"]:
                    parts.append(by(module(x3)[0].transpose(1, 2).flatten(0, 1)))
                z = sum(parts) / len(parts) if parts else x
            maps.append(F.relu(z))
            heard.append(None if seen is None else seen.reshape(-1, c["embed_dim"]))
        y = None
        for i in (3, 2, 1, 0):
            path = getattr(self, "path%d" % (i + 1))
            y = by(path(maps[i]) if y is None else path(y, maps[i]))
        return by(self.output_conv(y)), maps, heard


def matching(c, logits, maps, heard, weight):
    terms = []
    for i in c["avm_stages"]:
        v, a = maps[i], heard[i]
        pool = F.adaptive_max_pool2d if c["avm_pooling"] == "max" else F.adaptive_avg_pool2d
        if c["num_classes"] > 1:
            q = pool((logits.softmax(1).argmax(1, keepdim=True) != 0).float(), v.shape[2:])
        else:
            q = pool(logits, v.shape[2:]).sigmoid()
        if c["avm_threshold"]:
            q = (q > 0.5).float()
            v = (v * q).sum((2, 3)) / (q.sum((2, 3)) + 1e-6)
        else:
            v = (v * q).mean((2, 3))
        if c["avm_normalize"]:
            v, a = F.normalize(v, dim=1), F.normalize(a, dim=1)
        if c["avm_target"] == "nearest_video":
            far = torch.cdist(a.detach(), a.detach(), compute_mode="donot_use_mm_for_euclid_dist")
            near = (far + 10 * torch.eye(len(a))).argmin(1)
            a = v[near]
        if c["avm_distance"] == "euclidean":
            terms.append(F.pairwise_distance(a, v, eps=1e-6).mean())
            continue
        p, q = a.softmax(1), v.softmax(1)
        kl = (p * (p.log() - q.log())).sum(1)
        terms.append((kl * weight).sum() / weight.sum() if c["num_classes"] > 1 else kl.sum())
    return sum(terms) / len(terms)


def cosine(logits, maps, heard):
    terms = []
    for v, a in zip(maps, heard):
        q = (F.adaptive_avg_pool2d(logits.sigmoid(), v.shape[2:]) > 0.5).float()
        v = (v * q).sum((2, 3)) / (q.sum((2, 3)) + 1e-6)
        near = (F.normalize(v, dim=1) * F.normalize(a, dim=1)).sum(1)
        terms.append(-(F.relu(near) + 1e-6).log().mean())
    return sum(terms) / 4


def draw(rng, fixed):
    task = rng.choice(("s4", "ms3", "ms3", "avss"))
    stages = sorted(rng.sample(range(4), rng.choice((1, 2, 3, 4, 4))))
    c = {"task": task, "num_classes": 71 if task == "avss" else 1, "frames": rng.choice((1, 2, 5)),
         "backbone": rng.choice(("resnet50", "pvt_v2_b0", "pvt_v2_b1")), "resolution": rng.choice((32, 64, 96, [32, 64])),
         "embed_dim": rng.choice((32, 64, 256)), "tpavi_stages": stages, "tpavi_audio_visual": rng.choice((True, True, True, False)),
         "tpavi_visual_visual": rng.choice((True, False, False)), "bce_weight": rng.choice((1.0, 0.5)),
         "aux_loss": rng.choice(("none", "cosine") if task == "s4" else ("none", "avm", "avm")), "aux_weight": rng.choice((0.5, 0.1)),
         "avm_distance": rng.choice(("kl", "kl", "euclidean")), "avm_target": rng.choice(("audio", "audio", "nearest_video")),
         "avm_pooling": rng.choice(("average", "max")), "avm_normalize": rng.choice((False, True)),
         "avm_threshold": rng.choice((False, True)), "avm_stages": sorted(rng.sample(stages, rng.randint(1, len(stages))))}
    c.update(fixed)
    if not c["tpavi_audio_visual"] or (c["aux_loss"] == "cosine" and len(stages) < 4):
        c["aux_loss"] = "none"
    if task == "avss":
        c["avm_distance"], c["avm_target"], c["avm_pooling"], c["avm_threshold"] = "kl", "audio", "average", False
    if c["aux_loss"] != "avm":
        c.update({k: None for k in c if k.startswith("avm_")})
    if c["aux_loss"] == "none":
        c["aux_weight"] = None
    return c


def make(_, name, rng, fixed):
    c = draw(rng, fixed)
    phase, clips = rng.choice(("train", "train", "eval")), rng.choice((1, 2, 3))
    while clips > 1 and clips * c["frames"] > 6:
        clips -= 1
    case = cases.Case(name, "tpavi", phase, c, max(clips, 2 if c["frames"] == 1 else 1), rng)
    net = Net(c)
    rename = net.rename
    case.fill(net, rename).train(phase == "train")
    frames, audio = case.frames(), case.audio_feature()
    target = case.target(c["num_classes"])
    flag, weight = case.weights(lambda i: i % c["frames"] < max(1, c["frames"] - 1), lambda i: i % c["frames"] == 0 or i % 3 > 0)
    logits, maps, heard = net(audio, frames, flag)
    case.keep("logits_stride16" if c["num_classes"] > 1 else "logits", logits[:, :, ::16, ::16] if c["num_classes"] > 1 else logits)
    for i in range(4):
        case.note("v_map.%d" % i, maps[i])
        if heard[i] is not None:
            case.note("a_fea.%d" % i, heard[i])
    if c["num_classes"] > 1:
        each = F.cross_entropy(logits, target, reduction="none").mean((1, 2))
    else:
        each = F.binary_cross_entropy(logits.sigmoid(), target, reduction="none").mean((1, 2, 3))
    case.losses["mask_loss"] = (each * weight).sum() / weight.sum()
    total = c["bce_weight"] * case.losses["mask_loss"]
    if c["aux_loss"] == "avm":
        total = total + c["aux_weight"] * matching(c, logits, maps, heard, weight)
    elif c["aux_loss"] == "cosine":
        total = total + c["aux_weight"] * cosine(logits, maps, heard)
    case.losses["total"] = total
    case.more["dissipation"] = {k + ".W_z": {"replication_index": m.replication} for k, m in net.named_modules() if hasattr(m, "replication")}
    if phase == "train":
        case.gradients(net, rename, total)
        zero = ("W_z.0.bias", "theta.bias")
        case.zero(lambda k: k.endswith(zero))
    return case
