"""Cases of AVSegFormer, variants paper and released with all knobs: the peer's modules with the auxiliary branch, the mixers,
the query generators and the losses added.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer
import avsegformer as peer
import cases


class Weighing(avesformer.Attention):
    """Attention that keeps its probabilities."""

    def forward(self, q, kv):
        b, n, c = q.shape
        bias = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        x = [F.linear(s, w, d).view(b, -1, self.heads, c // self.heads).transpose(1, 2)
             for s, w, d in zip((q, kv, kv), self.in_proj_weight.chunk(3), bias)]
        self.weights = (x[0] @ x[1].transpose(-1, -2) * (c // self.heads) ** -0.5).softmax(-1)
        self.made = self.out_proj((self.weights @ x[2]).transpose(1, 2).reshape(b, n, c))
        return self.made


class Mixer(nn.Module):
    def __init__(self, dim, heads, kind):
        super().__init__()
        self.q_proj, self.kv_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.proj, self.heads, self.kind = nn.Linear(dim, dim), heads, kind

    def forward(self, m, a):
        b, c, h, w = m.shape
        x = m.flatten(2).transpose(1, 2)
        q, kv = (a, x) if self.kind == "cha" else (x, a)
        split = lambda t: t.view(b, -1, self.heads, c // self.heads).transpose(1, 2)
        k, v = (split(t) for t in self.kv_proj(kv).chunk(2, -1))
        p = (split(self.q_proj(q)) @ k.transpose(-1, -2) * (c // self.heads) ** -0.5).softmax(-1)
        o = self.proj((p @ v).transpose(1, 2).reshape(b, -1, c))
        if self.kind == "cha":
            return m * o.sigmoid().view(b, c, 1, 1)
        return m + o.transpose(1, 2).reshape(b, c, h, w)


def layers(kind, n, dim, heads, hidden):
    out = []
    for _ in range(n):
        if kind == "encoder":
            x = peer.EncoderLayer(dim, hidden)
        elif kind == "decoder":
            x = peer.DecoderLayer(dim, hidden)
            x.self_attn, x.cross_attn = Weighing(dim, heads), Weighing(dim, heads)
        else:
            x = peer.GeneratorLayer(dim, hidden)
            x.self_attn, x.cross_attn = (Weighing(dim, heads, bias=False) for _ in range(2))
            if kind == "pqg":
                del x.cross_attn, x.norm2
        out.append(x)
    return nn.ModuleList(out)


class Head(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        dim, n, heads = c["embed_dim"], c["num_queries"], c["num_heads"]
        self.c, levels = c, c.get("num_levels", 3)
        self.steps = ("up1", "up2", "up3")[3 - levels:]
        self.level_embed = nn.Parameter(torch.zeros(levels, dim))
        self.learnable_query = nn.Embedding(n, dim)
        self.in_proj = nn.ModuleList([peer.conv_norm(k, dim, 1) for k in channels])
        self.transformer = nn.Module()
        self.transformer.encoder, self.transformer.decoder = nn.Module(), nn.Module()
        self.transformer.encoder.layers = layers("encoder", c["num_encoder_layers"], dim, heads, c["ffn_dim"])
        for layer in self.transformer.encoder.layers:
            layer.self_attn = avesformer.DeformableAttention(dim, heads, levels, c["num_points"])
        self.transformer.decoder.layers = layers("decoder", c["num_decoder_layers"], dim, heads, c["ffn_dim"])
        self.mlp = peer.MLP(n, c["mask_mlp_dim"], dim)
        if c["mixer"] != "none":
            self.fusion_block = Mixer(dim, heads, c["mixer"])
        self.lateral_conv = peer.conv_norm(dim, dim, 1)
        self.out_conv = peer.conv_norm(dim, dim, 3, nn.ReLU())
        wide = n if c["aux_loss"] == "ar" else dim
        self.fpn = nn.Module()
        for name in self.steps:
            setattr(self.fpn, name, nn.Sequential(nn.Identity(), nn.Conv2d(wide, wide, 3, padding=1)))
        self.attn_fc, self.fc = peer.upsampling(wide, c["num_classes"]), peer.upsampling(dim, c["num_classes"])
        if c["query_generator"] != "repeat":
            self.query_generator = nn.Module()
            self.query_generator.query = nn.Embedding(n, dim)
            self.query_generator.layers = layers(c["query_generator"], c["num_generator_layers"], dim, heads, c["generator_ffn_dim"])

    def queries(self, a):
        n = self.c["num_queries"]
        if self.c["query_generator"] == "repeat":
            q = a.expand(-1, n, -1)
        else:
            q = self.query_generator.query.weight[None].expand(len(a), -1, -1)
            if self.c["query_generator"] == "pqg":
                q = torch.cat([a, q], 1)
            for g in self.query_generator.layers:
                q = g.norm1(q + g.self_attn(q, q))
                if self.c["query_generator"] == "qg":
                    q = g.norm2(q + g.cross_attn(q, a))
                q = g.norm3(q + g.ffn(q))
            q = q[:, -n:]
        return q + self.learnable_query.weight if self.c["learnable_queries"] else q

    def masks(self, parts):
        """The reformer: maps of all levels, finest first, to an image."""
        y = parts[-1]
        for step, finer in zip(self.steps, parts[-2::-1] + [0]):
            y = getattr(self.fpn, step)[1](F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)) + finer
        return self.attn_fc(y)

    def forward(self, feats, a, note):
        x = [p(f) for p, f in zip(self.in_proj, feats)]
        used = x[1:1 + len(self.steps)]
        sizes = [tuple(f.shape[2:]) for f in used]
        dim = self.level_embed.shape[1]
        pos = torch.cat([avesformer.sine_position(h, w, dim) + e for (h, w), e in zip(sizes, self.level_embed)], 0)
        tables = avesformer.sampling_tables(sizes, pos)
        memory = torch.cat([f.flatten(2).transpose(1, 2) for f in used], 1)
        for i, layer in enumerate(self.transformer.encoder.layers):
            memory = layer(memory, tables)
            note("head.transformer.encoder.layers.%d" % i, memory)
        q = self.queries(a)
        note("query", q)
        maps = []
        for i, layer in enumerate(self.transformer.decoder.layers):
            q = layer(q, memory)
            note("head.transformer.decoder.layers.%d" % i, q)
            w = layer.cross_attn.weights.mean(1)
            if self.c["aux_loss"] in ("qr", "ar"):
                r = q.transpose(1, 2) @ w if self.c["aux_loss"] == "qr" else w
                parts = [p.unflatten(2, s) for p, s in zip(r.split([h * v for h, v in sizes], 2), sizes)]
                maps.append(self.masks(parts))
        h, w = sizes[0]
        top = memory[:, :h * w].transpose(1, 2).reshape(len(memory), -1, h, w)
        m = self.out_conv(self.lateral_conv(x[0]) + cases.adaptive_resize(top, x[0].shape[2:]))
        if self.c["mixer"] != "none":
            m = self.fusion_block(m, a)
        e = (q @ m.flatten(2)).view(len(m), -1, *m.shape[2:])
        return self.fc(m + self.mlp(e)), maps, m


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.backbone, channels, self.rename = cases.features(c["backbone"])
        self.head, self.audio_proj = Head(c, channels), nn.Linear(128, c["embed_dim"])

    def forward(self, audio, frames, flag, note):
        feats = self.backbone(frames)
        by = (lambda t: t) if flag is None else (lambda t: t * flag[:, None, None, None])
        a = self.audio_proj(audio)
        note("audio_proj", a)
        pred, maps, m = self.head([by(f) for f in feats], a[:, None], note)
        return by(pred), [by(x) for x in maps], by(m)


def dice(p, g):
    p, g = p.sigmoid().flatten(1), g.flatten(1)
    return 1 - 2 * (p * g).sum(1) / ((p * p).sum(1) + 1e-3 + (g * g).sum(1) + 1e-3)


def loss(c, pred, maps, m, target, weight):
    """weight: 1 for each row that is supervised."""
    mean = lambda v: (v * weight).sum() / weight.sum()
    if c["num_classes"] > 1:
        form = lambda p: mean(F.cross_entropy(p, target, reduction="none").mean((1, 2)))
    elif c["seg_loss"] == "bce":
        form = lambda p: mean(F.binary_cross_entropy(p.sigmoid(), target, reduction="none").mean((1, 2, 3)))
    else:
        form = lambda p: mean(dice(p, target))
    out = {"iou_loss": c["seg_weight"] * form(pred)}
    for i, x in enumerate(maps):
        out["mask_loss%d" % i] = c["aux_weight"] * form(x)
    if c["aux_loss"] == "mix":
        g = (target > 0).float()[:, None] if c["num_classes"] > 1 else target
        out["mix_loss"] = c["aux_weight"] * mean(dice(cases.adaptive_resize(m.mean(1, keepdim=True), g.shape[-2:]), g))
    out["total"] = sum(out.values())
    return out


def draw(rng, fixed):
    variant, task = rng.choice(("paper", "released")), rng.choice(("s4", "ms3", "avss"))
    c = {"variant": variant, "task": task, "num_classes": 71 if task == "avss" else 1, "frames": rng.choice((1, 2, 5)),
         "backbone": rng.choice(("resnet50", "pvt_v2_b0", "pvt_v2_b1")), "resolution": rng.choice((64, 96, [64, 96], [96, 32])),
         "num_queries": rng.choice((1, 7, 30, 300)), "learnable_queries": rng.choice((True, True, False)),
         "query_generator": "repeat" if variant == "paper" else rng.choice(("qg", "pqg")), "mixer": rng.choice(("none", "cha", "cra")),
         "embed_dim": rng.choice((64, 128, 256)), "num_heads": rng.choice((4, 8)), "num_encoder_layers": rng.choice((1, 2)),
         "num_decoder_layers": rng.choice((1, 3)), "num_points": rng.choice((2, 4)), "ffn_dim": rng.choice((96, 512)),
         "mask_mlp_dim": rng.choice((64, 256)), "num_generator_layers": rng.choice((1, 2)), "generator_ffn_dim": rng.choice((64, 200)),
         "seg_loss": "ce" if task == "avss" else rng.choice(("dice", "bce")), "seg_weight": rng.choice((1.0, 0.6)),
         "aux_loss": rng.choice(("none", "qr", "ar") if variant == "paper" else ("none", "mix")),
         "aux_weight": rng.choice((0.1, 0.4)), "freeze_backbone_epochs": 0}
    c.update(fixed)
    if c["query_generator"] == "repeat":
        c["num_generator_layers"] = c["generator_ffn_dim"] = None
    if c["aux_loss"] == "none":
        c["aux_weight"] = None
    return c


def make(_, name, rng, fixed):
    c = draw(rng, fixed)
    phase, clips = rng.choice(("train", "train", "eval")), rng.choice((1, 2, 3))
    while clips > 1 and clips * c["frames"] > 6:
        clips -= 1
    case = cases.Case(name, "avsegformer", phase, c, clips + (phase == "train" and clips * c["frames"] == 1), rng)
    net = Net(c)
    rename = net.rename
    case.fill(net, rename).train(phase == "train")
    frames, audio = case.frames(), case.audio_feature()
    target = case.target(c["num_classes"])
    flag, weight = case.weights(lambda i: i % c["frames"] < max(1, c["frames"] - rng.choice((0, 1))),
                                lambda i: i % c["frames"] == 0 or rng.random() < 0.5)
    pred, maps, m = net(audio, frames, flag, case.note)
    case.keep("pred_stride16" if c["num_classes"] > 1 else "pred", pred[:, :, ::16, ::16] if c["num_classes"] > 1 else pred)
    if maps and c["num_classes"] == 1:
        case.keep("attn_masks.%d" % (len(maps) - 1), maps[-1])
    case.losses = loss(c, pred, maps, m, target, weight)
    if phase == "train":
        case.gradients(net, rename, case.losses["total"])
    else:
        case.dissipation(net)
    return case
