"""Cases of LightAVSeg: the peer's modules with every backbone, part, pooling and loss; the audio feature comes from the log-mel
patch, as this model has no input for it.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer
import backbones
import cases
import check
import lightavseg as peer
import seaformer

WIDTHS = dict(peer.WIDTHS, r50=((256, 512, 1024, 2048), None, 256))


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        kind = "r50" if c["backbone"] == "resnet50" else c["backbone"][-1]
        w, deepest, _ = WIDTHS[kind]
        d, conv1, cb = c["embed_dim"], peer.conv1, seaformer.ConvBN
        self.c = c
        self.audio = backbones.MobileNetV2()
        if c["audio_channels"] == 3:
            self.audio.features[0][0] = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.visual = avesformer.ResNetFeatures("resnet50") if kind == "r50" else seaformer.SeaFormer(kind)
        if c["agve"] or c["har"] or c["cmfd"]:
            self.enc_audio = nn.ModuleList([conv1(a, b) for a, b in zip((1024,) + w, w)])
            if c["har"]:
                self.enc_gate = nn.ModuleList([conv1(a, a) for a in w])
        if c["context"] and deepest:
            self.ctx = nn.Module()
            self.ctx.local, self.ctx.glob = cb(w[3], w[3]), cb(deepest, w[3])
        self.lateral = nn.ModuleList([cb(a, d) for a in w])
        if c["cmfd"]:
            self.mix = nn.ModuleList([conv1(a + (d if i < 3 else 0), d) for i, a in enumerate(w)])
            self.gate, self.inject = nn.ModuleList([conv1(a, d) for a in w]), nn.ModuleList([conv1(d, d) for _ in w])
        else:
            self.static_audio, self.static_merge = conv1(1024, d), cb(2 * d, d)
        self.head_dw, self.head_pw, self.head_cls = cb(d, d, 3, 1, d), cb(d, 64), conv1(64, c["num_classes"])

    def stage(self, i, x):
        v = self.visual
        if self.c["backbone"] != "resnet50":
            return peer.LightAVSeg.stage(self, i, x)
        if i == 0:
            x = v.maxpool(v.relu(v.bn1(v.conv1(x))))
        return getattr(v, "layer%d" % (i + 1))(x)

    def forward(self, audio, frames, note):
        c = self.c
        pool = peer.peak if c["pooling"] == "max" else (lambda t: t.mean((2, 3), keepdim=True))
        self.audio.eval()
        with torch.no_grad():
            heard = self.audio(audio)[:, :, None, None]
        note("a0", heard)
        a, x, sound, seen = heard, frames, [], []
        for i in range(4):
            x = self.stage(i, x)
            if c["agve"] or c["har"] or c["cmfd"]:
                a = self.enc_audio[i](a)
                if c["har"]:
                    a = a * F.hardsigmoid(self.enc_gate[i](pool(x)))
                note("a%d" % (i + 1), a)
            if c["agve"]:
                x = x + a
            note("enc%d" % (i + 1), x)
            sound.append(a)
            seen.append(x)
        if hasattr(self, "ctx"):
            seen[3] = self.ctx.local(x) * peer.resize(F.hardsigmoid(self.ctx.glob(self.stage(4, x))), x)
        state = above = None
        up, dec = [None] * 4, [None] * 4
        for i in (3, 2, 1, 0):
            e = seen[i]
            p = self.lateral[i](e)
            if above is not None:
                p = p + peer.resize(above, e)
            if c["cmfd"]:
                state = F.relu(self.mix[i](sound[i] if state is None else torch.cat([state, sound[i]], 1)))
                state = state * F.hardsigmoid(self.gate[i](pool(e)))
                p = p + self.inject[i](state)
                note("ahat%d" % (i + 1), state)
            above, up[i] = p, state
            dec[i] = above
        if not c["cmfd"]:
            above = F.relu(self.static_merge(torch.cat([above, self.static_audio(heard).expand_as(above)], 1)))
            dec[0] = above
        for i in range(4):
            note("dec%d" % (i + 1), dec[i])
        y = self.head_cls(F.relu(self.head_pw(F.relu(self.head_dw(above)))))
        return y, cases.adaptive_resize(y, frames.shape[2:]), dec, up


def binary(c, y, dec, up, m, full):
    """Main and auxiliary terms of logits y (n,1,H,W) against masks m."""
    tau = c["align_temperature"] or 0.1
    if c["aux_loss"] == "mix":
        p = cases.adaptive_resize(dec[0].mean(1, keepdim=True), full).sigmoid().flatten(1)
        g = m.flatten(1)
        return (1 - 2 * (p * g).sum(1) / ((p * p).sum(1) + (g * g).sum(1) + 0.002)).mean()
    terms = []
    for i in (2, 1, 0):
        v, a = dec[i], up[i]
        if c["aux_loss"] == "avm":
            w = F.adaptive_avg_pool2d(y, v.shape[2:]).sigmoid()
            z, b = F.normalize((v * w).mean((2, 3)), dim=1), F.normalize(a.flatten(1), dim=1)
            u, q = b.softmax(1), z.softmax(1)
            terms.append((u * (u.log() - q.log())).sum())
            continue
        sim = (F.normalize(v, dim=1) * F.normalize(a, dim=1)).sum(1, keepdim=True) / tau
        if c["aux_loss"] == "msa":
            terms.append(F.binary_cross_entropy(cases.adaptive_resize(sim.sigmoid(), full), m))
            continue
        lp = cases.adaptive_resize(sim, full).flatten(1).log_softmax(1)
        q = m.flatten(1)
        on = q.sum(1) > 0
        q = q / q.sum(1, keepdim=True).clamp_min(1)
        each = torch.where(q > 0, q * (q.clamp_min(1e-30).log() - lp), torch.zeros_like(q)).sum(1)
        terms.append(each[on].mean() if on.any() else each.sum() * 0)
    return sum(terms) / 3


def loss(c, y, dec, up, target):
    out, full = {}, y.shape[2:]
    if c["num_classes"] > 1:
        out["ce"] = F.cross_entropy(y, target)
        p, m = y.softmax(1).flatten(2), F.one_hot(target, c["num_classes"]).permute(0, 3, 1, 2).flatten(2).float()
        d = 1 - (2 * (p * m).sum(2) + 1) / (p.sum(2) + m.sum(2) + 1)
        out["dice"] = d[m.sum(2) > 0].mean()
        mask = (target != 0).float()[:, None]
        main = c["bce_weight"] * out["ce"] + c["dice_weight"] * out["dice"]
    else:
        out["bce"] = F.binary_cross_entropy_with_logits(y, target)
        p, m = y.sigmoid().flatten(1), target.flatten(1)
        out["dice"] = (1 - (2 * (p * m).sum(1) + 1) / (p.sum(1) + m.sum(1) + 1)).mean()
        mask = target
        main = c["bce_weight"] * out["bce"] + c["dice_weight"] * out["dice"]
    out["total"] = main
    if c["aux_loss"] != "none":
        out[c["aux_loss"]] = binary(c, y, dec, up, mask, full)
        out["total"] = main + c["aux_weight"] * out[c["aux_loss"]]
    return out


def draw(rng, fixed):
    task = rng.choice(("s4", "ms3", "avss"))
    b = rng.choice(("seaformer_t", "seaformer_s", "seaformer_b", "seaformer_l", "resnet50"))
    cmfd = rng.choice((True, True, True, False))
    c = {"task": task, "num_classes": 71 if task == "avss" else 1, "frames": rng.choice((1, 2, 5)), "backbone": b,
         "resolution": rng.choice((64, 96, [64, 96], [80, 112], [72, 100])), "embed_dim": rng.choice((32, 96, 200)),
         "audio_channels": rng.choice((1, 1, 3)), "pooling": rng.choice(("max", "avg")), "agve": rng.choice((True, True, False)),
         "har": rng.choice((True, True, False)), "cmfd": cmfd, "context": rng.choice((True, True, False)),
         "bce_weight": rng.choice((1.0, 0.5)), "dice_weight": rng.choice((1.0, 0.7)),
         "aux_loss": rng.choice(("none", "mix", "msa", "msa_kl", "avm") if cmfd else ("none", "mix")),
         "aux_weight": rng.choice((0.5, 0.2)), "align_temperature": rng.choice((0.1, 0.3))}
    c.update(fixed)
    if c["backbone"] == "resnet50":
        c["context"] = None
    if c["num_classes"] > 1 and c["aux_loss"] in ("avm", "msa_kl"):
        c["aux_loss"] = "msa"
    if c["aux_loss"] == "none":
        c["aux_weight"] = None
    if c["aux_loss"] not in ("msa", "msa_kl"):
        c["align_temperature"] = None
    return c


def make(_, name, rng, fixed):
    c = draw(rng, fixed)
    phase, clips = rng.choice(("train", "eval")), rng.choice((1, 2, 3))
    while clips > 1 and clips * c["frames"] > 6:
        clips -= 1
    case = cases.Case(name, "lightavseg", phase, c, max(clips, 2 if c["frames"] == 1 else 1), rng)
    net = case.fill(Net(c), check.same).train(phase == "train")
    frames = case.frames(1.0)
    audio = case.tensor("audio", (case.rows, c["audio_channels"], 96, 64), 2.0, -1.0)
    target = case.target(c["num_classes"])
    rows = case.supervised()
    low, y, dec, up = net(audio, frames, case.note)
    case.keep("logits_low", low)
    case.losses = loss(c, y[rows], [d[rows] for d in dec], [None if u is None else u[rows] for u in up], target[rows])
    if phase == "train":
        case.gradients(net, check.same, case.losses["total"], lambda k: k.startswith("audio."))
        case.more.pop("frozen_gradients")
        case.more["no_gradient"] = [k for k in case.more["no_gradient"] if not k.startswith("audio.")]
    return case
