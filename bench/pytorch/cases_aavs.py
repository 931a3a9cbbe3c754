"""Cases of Stepping Stones: both stages and the end-to-end network at free sizes, with the set loss; matching by scipy."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import aavs as peer
import avesformer
import cases
import check
import swin


def sine(h, w, dim):
    half = dim // 2
    k = torch.arange(half)
    t = 10000.0 ** (2 * torch.div(k, 2, rounding_mode="floor") / half)

    def axis(n):
        a = ((torch.arange(n) + 1) / (n + 1e-6) * 2 * np.pi)[:, None] / t
        return torch.where(k % 2 == 0, a.sin(), a.cos())

    y, x = axis(h), axis(w)
    return torch.cat([y[:, None].expand(h, w, half), x[None].expand(h, w, half)], 2).reshape(h * w, dim)


SWIN_B = (4, 128, (2, 2, 18, 2), (4, 8, 16, 32), 12)


class Swin(swin.Swin):
    def __init__(self, patch, dim, depths, heads, adapters):
        nn.Module.__init__(self)
        self.patch = patch
        self.embeddings = nn.Module()
        self.embeddings.patch_embeddings = nn.Module()
        self.embeddings.patch_embeddings.projection = nn.Conv2d(3, dim, patch, patch)
        self.embeddings.norm = nn.LayerNorm(dim)
        self.encoder = nn.Module()
        self.encoder.layers, self.hidden_states_norms = nn.ModuleList(), nn.ModuleDict()
        for i in range(4):
            stage = nn.Module()
            stage.blocks = nn.ModuleList([swin.Block(dim << i, heads[i], swin.W // 2 * (j % 2), adapters) for j in range(depths[i])])
            if i < 3:
                stage.downsample = swin.Merging(dim << i)
            self.encoder.layers.append(stage)
            self.hidden_states_norms["stage%d" % (i + 1)] = nn.LayerNorm(dim << i)


def adapter(d):
    return nn.Sequential(nn.Linear(d, d // 4), nn.ReLU(), nn.Linear(d // 4, d))


def conclude(m, name, c, y):
    """The end of an attention: projection, adapter, or both."""
    if not c["decoder_adapter"] or c["attention_output"] == "projection_adapter":
        y = getattr(m, name)(y)
    return m.avs_adapt(y) if c["decoder_adapter"] else y


class Deformable(avesformer.DeformableAttention):
    def __init__(self, c):
        d = c["embed_dim"]
        super().__init__(d, c["num_heads"], 3, c["num_points"])
        self.c, self.last = c, self.output_proj
        self.output_proj = nn.Identity()

    def forward(self, query, x, tables):
        return conclude(self, "last", self.c, super().forward(query, x, tables))


class EncoderLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f = c["embed_dim"], c["encoder_ffn_dim"]
        self.self_attn = Deformable(c)
        if c["decoder_adapter"]:
            self.self_attn.avs_adapt = adapter(d)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, f), nn.Linear(f, d)

    forward = peer.EncoderLayer.forward


class PixelDecoder(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        d = c["embed_dim"]
        self.input_projections = nn.ModuleList([nn.Sequential(nn.Conv2d(k, d, 1), nn.GroupNorm(32, d)) for k in channels[:0:-1]])
        self.level_embed = nn.Parameter(torch.zeros(3, d))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([EncoderLayer(c) for _ in range(c["num_encoder_layers"])])
        self.adapter_1 = nn.Sequential(nn.Conv2d(channels[0], d, 1, bias=False), nn.GroupNorm(32, d))
        self.layer_1 = nn.Sequential(nn.Conv2d(d, d, 3, padding=1, bias=False), nn.GroupNorm(32, d), nn.ReLU())
        self.mask_projection = nn.Conv2d(d, d, 1)

    def forward(self, feats):
        maps = [p(f) for p, f in zip(self.input_projections, feats[:0:-1])]
        sizes, d = [tuple(m.shape[2:]) for m in maps], self.level_embed.shape[1]
        pos = torch.cat([sine(h, w, d) + e for (h, w), e in zip(sizes, self.level_embed)], 0)
        tables = avesformer.sampling_tables(sizes, pos)
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        for layer in self.encoder.layers:
            x = layer(x, tables)
        parts = x.split([h * w for h, w in sizes], 1)
        fine = parts[2].transpose(1, 2).reshape(len(x), d, *sizes[2])
        g = self.adapter_1(feats[0])
        return self.mask_projection(self.layer_1(g + cases.adaptive_resize(fine, g.shape[2:]))), parts, sizes


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["embed_dim"]
        self.c = c
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d, d) for _ in range(4))
        if c["decoder_adapter"]:
            self.avs_adapt = adapter(d)

    def forward(self, x, pos):
        b, n, d = x.shape
        h = self.c["num_heads"]
        q, k, v = (p(y).view(b, n, h, d // h).transpose(1, 2)
                   for p, y in ((self.q_proj, x + pos), (self.k_proj, x + pos), (self.v_proj, x)))
        y = ((q @ k.transpose(-1, -2) * (d // h) ** -0.5).softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)
        return conclude(self, "out_proj", self.c, y)


class CrossAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.heads = c["embed_dim"], c["num_heads"]
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.zeros(3 * d, d)), nn.Parameter(torch.zeros(3 * d))
        self.out_proj = nn.Linear(d, d)

    def forward(self, q, k, v, blocked):
        b, n, d = q.shape
        q, k, v = (F.linear(x, w, e).view(b, -1, self.heads, d // self.heads).transpose(1, 2)
                   for x, w, e in zip((q, k, v), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)))
        a = q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        if blocked is not None:
            a = a.masked_fill(blocked[:, None], float("-inf"))
        self.weights = a.softmax(-1)
        self.made = self.out_proj((self.weights @ v).transpose(1, 2).reshape(b, n, d))
        return self.made


class DecoderLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["embed_dim"]
        self.cross_attn, self.self_attn = CrossAttention(c), SelfAttention(c)
        self.cross_attn_layer_norm, self.self_attn_layer_norm, self.final_layer_norm = (nn.LayerNorm(d) for _ in range(3))
        self.fc1, self.fc2 = nn.Linear(d, c["ffn_dim"]), nn.Linear(c["ffn_dim"], d)

    forward = peer.DecoderLayer.forward


class TransformerModule(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, q = c["embed_dim"], c["num_queries"]
        self.c = c
        self.queries_embedder, self.queries_features, self.level_embed = nn.Embedding(q, d), nn.Embedding(q, d), nn.Embedding(3, d)
        if c["stage"] == "two":
            self.audio_embed, self.silence_embed, self.uncertain_embed = (nn.Embedding(1, d) for _ in range(3))
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList([DecoderLayer(c) for _ in range(c["num_decoder_layers"])])
        self.decoder.layernorm = nn.LayerNorm(d)
        self.decoder.mask_predictor = nn.Module()
        self.decoder.mask_predictor.mask_embedder = nn.ModuleList([nn.Sequential(nn.Linear(d, d)) for _ in range(3)])

    def predict(self, x, features):
        y = e = self.decoder.layernorm(x)
        for i, layer in enumerate(self.decoder.mask_predictor.mask_embedder):
            e = layer(e) if i == 2 else F.relu(layer(e))
        return y, (e @ features.flatten(2)).view(len(x), -1, *features.shape[2:])

    def key_position(self, size, prior):
        p = sine(*size, self.c["embed_dim"])[None]
        if prior is None or not self.c["robust_key"]:
            return p
        r = cases.adaptive_resize(prior[:, None], size).flatten(1)[..., None]
        low, high = self.c["key_threshold_low"], self.c["key_threshold_high"]
        return p + torch.where(r <= low, self.silence_embed.weight,
                               torch.where(r >= high, self.audio_embed.weight, self.uncertain_embed.weight))

    def forward(self, a, features, parts, sizes, prior):
        pos = self.queries_embedder.weight[None].expand(len(a), -1, -1)
        x = self.queries_features.weight[None].expand(len(a), -1, -1)
        if self.c["query_generator"] == "adaptive":
            x = x + F.cosine_similarity(pos, a[:, None], -1, 1e-8)[..., None] * a[:, None]
        elif self.c["query_generator"] == "add":
            x = x + a[:, None]
        elif self.c["query_generator"] == "concat":  # one more query, without a position of its own
            x, pos = torch.cat([x, a[:, None]], 1), F.pad(pos, (0, 0, 0, 1))
        value = [p + e for p, e in zip(parts, self.level_embed.weight)]
        out = [self.predict(x, features)]
        for i, layer in enumerate(self.decoder.layers):
            l, blocked = i % 3, None
            if self.c["masked_attention"]:
                m = cases.adaptive_resize(out[-1][1].detach(), sizes[l]).sigmoid()
                if i == 0 and prior is not None and self.c["stage1_mask_attention"]:
                    m = cases.adaptive_resize(prior[:, None], sizes[0]).expand(-1, x.shape[1], -1, -1)
                blocked = (m < 0.5).flatten(2)
                blocked = blocked & ~blocked.all(-1, keepdim=True)
            x = layer(x, pos, value[l] + self.key_position(sizes[l], prior), value[l], blocked)
            out.append(self.predict(x, features))
        return out


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["embed_dim"]
        self.c = c
        self.audio_proj = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, d))
        self.model = nn.Module()
        self.model.model = nn.Module()
        level = self.model.model.pixel_level_module = nn.Module()
        if c["backbone"] == "resnet50":
            level.encoder, channels, _ = cases.features("resnet50")
        else:
            patch, k, depths, heads, swin.W = SWIN_B if c["backbone"] == "swin_b" else [
                c["backbone_" + o] for o in ("patch_size", "embed_dim", "depths", "num_heads", "window_size")]
            level.encoder = Swin(patch, k, depths, heads, c["backbone_adapter"] == "always")
            channels = (k, 2 * k, 4 * k, 8 * k)
        level.decoder = PixelDecoder(c, channels)
        self.model.model.transformer_module = TransformerModule(c)
        self.model.class_predictor = nn.Linear(d, c["num_classes"] + 1)

    def forward(self, audio, frames, prior, note):
        m = self.model.model
        feats = m.pixel_level_module.encoder(frames)
        features, parts, sizes = m.pixel_level_module.decoder(feats)
        if prior is not None and self.c["stage1_mask_features"]:
            features = features + cases.adaptive_resize(prior[:, None], features.shape[2:])
        a = self.audio_proj(audio)
        note("audio_proj", a)
        return [(self.model.class_predictor(y), x) for y, x in m.transformer_module(a, features, parts, sizes, prior)]


def sample(x, points):
    """x (M,H,W) at points (M or 1,P,2) -> (M,P)."""
    grid = (2 * points - 1).expand(len(x), -1, -1)[:, None]
    return F.grid_sample(x[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0, 0]


def dice(s, t):
    return 1 - (2 * (s * t).sum(1) + 1) / (s.sum(1) + t.sum(1) + 1)


def set_loss(c, classes, masks, found, truth, points):
    from scipy.optimize import linear_sum_assignment
    match, over, rand = points
    rows, labels, wanted, logits = [], torch.full(classes.shape[:2], c["num_classes"]), [], []
    for b in range(len(classes)):
        with torch.no_grad():
            x, t = sample(masks[b], match[b]), sample(truth[b], match[b])
            bce = (F.softplus(-x) @ t.T + F.softplus(x) @ (1 - t).T) / x.shape[1]
            s = x.sigmoid()
            d = 1 - (2 * s @ t.T + 1) / (s.sum(1)[:, None] + t.sum(1)[None] + 1)
            cost = 5 * bce - classes[b].softmax(-1)[:, found[b]] + 5 * d
        q, k = linear_sum_assignment(cost.numpy())
        rows.append([q.tolist(), k.tolist()])
        labels[b, q] = torch.tensor(found[b])[k]
        logits.append(masks[b][q])
        wanted.append(truth[b][k])
    logits, wanted = torch.cat(logits), torch.cat(wanted)
    weight = torch.ones(c["num_classes"] + 1)
    weight[-1] = c["no_object_weight"]
    out = {"loss_cross_entropy": c["class_weight"] * F.cross_entropy(classes.flatten(0, 1), labels.flatten(), weight)}
    with torch.no_grad():
        keep = int(c["importance_sample_ratio"] * c["train_num_points"])
        top = (-sample(logits, over).abs()).topk(keep, 1)[1]
        at = torch.cat([torch.gather(over, 1, top[..., None].expand(-1, -1, 2)), rand], 1)
        t = sample(wanted, at)
    x = sample(logits, at)
    out["loss_mask"] = c["bce_weight"] * F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1).sum() / len(x)
    out["loss_dice"] = c["dice_weight"] * dice(x.sigmoid(), t).sum() / len(x)
    return out, rows


def draw(rng, fixed):
    stage = rng.choice(("one", "two", "two", "end_to_end"))
    adapter_on = rng.choice((True, True, False))
    c = {"task": "ms3" if stage == "one" else "avss", "stage": stage, "num_classes": 2 if stage == "one" else 71,
         "frames": rng.choice((1, 2)), "backbone": rng.choice(("swin_custom",) * 4 + ("resnet50",)),
         "resolution": rng.choice((64, 96, 100, [64, 96])), "embed_dim": rng.choice((32, 64)), "num_heads": rng.choice((2, 4)),
         "num_queries": rng.choice((7, 12, 40)), "query_generator": rng.choice(("adaptive", "adaptive", "fixed", "add")),
         "masked_attention": rng.choice((True, True, True, False)), "decoder_adapter": adapter_on,
         "attention_output": rng.choice(("adapter", "projection_adapter")), "num_encoder_layers": rng.choice((1, 2)),
         "num_decoder_layers": rng.choice((1, 3, 4)), "num_points": rng.choice((2, 4)), "encoder_ffn_dim": rng.choice((48, 100)),
         "ffn_dim": rng.choice((48, 100)), "class_weight": rng.choice((2.0, 1.0)), "bce_weight": rng.choice((5.0, 3.0)),
         "dice_weight": rng.choice((5.0, 2.0)), "no_object_weight": rng.choice((0.1, 0.3)),
         "deep_supervision": rng.choice((True, True, False)), "train_num_points": rng.choice((64, 128)), "oversample_ratio": 3.0,
         "importance_sample_ratio": rng.choice((0.75, 0.5))}
    if stage == "two":
        c.update(robust_key=rng.choice((True, True, False)), stage1_mask_attention=rng.choice((True, True, False)),
                 stage1_mask_features=rng.choice((True, True, False)))
        if c["robust_key"]:
            c.update(key_threshold_low=rng.choice((0.4, 0.2)), key_threshold_high=rng.choice((0.6, 0.7)))
    c.update({k: v for k, v in fixed.items() if not k.startswith("backbone_")})
    if c["backbone"] == "swin_custom":
        c.update(backbone_patch_size=4, backbone_embed_dim=rng.choice((16, 32)), backbone_depths=rng.choice(([1, 1, 2, 1], [2, 1, 1, 2])),
                 backbone_num_heads=[1, 2, 4, 8], backbone_window_size=rng.choice((3, 4, 6)), backbone_mlp_ratio=4.0,
                 backbone_adapter=rng.choice(("always", "off")))
    c.update(fixed)
    return c


def make(_, name, rng, fixed):
    c = draw(rng, fixed)
    phase, clips = rng.choice(("train", "eval")), rng.choice((1, 2))
    case = cases.Case(name, "aavs", phase, c, clips, rng, "a.")
    case.config["drop_path"] = 0.0
    rename = lambda k: k.replace("self_attn.last.", "self_attn.output_proj.")
    net = case.fill(Net(c), rename).train(phase == "train")
    frames, audio = case.frames(), case.audio_feature()
    prior = None
    if c["stage"] == "two":
        shape, where = [case.rows, case.height, case.width], name + ".stage1"
        case.inputs.append({"role": "stage1_mask", "make": "grey", "name": where, "shape": shape, "cell": 8})
        prior = torch.from_numpy(((cases.blocks(where, shape, 8) + 1) / 2).astype(np.float32))
    out = net(audio, frames, prior, case.note)
    case.keep("class_logits", out[-1][0])
    case.keep("mask_logits", out[-1][1])
    if phase == "eval":
        case.dissipation(net)
        return case
    case.rng.choice((0,))
    if c["num_classes"] == 2:
        target = case.target(1, with_channel=False).long()
    else:
        case.inputs.append({"role": "target", "make": "classes", "name": name + ".target", "shape": [case.rows, case.height, case.width],
                            "count": 5, "cell": 32})
        k = np.floor((cases.blocks(name + ".target", [case.rows, case.height, case.width], 32) + 1) / 2 * 5).astype(np.int64)
        target = torch.from_numpy(np.minimum(k, 4))
    case.extra["supervised_frames"] = list(range(case.rows))
    found = [sorted(set(t.flatten().tolist())) for t in target]
    truth = [torch.stack([(t == k).float() for k in f]) for t, f in zip(target, found)]
    P, M, L = c["train_num_points"], sum(map(len, found)), len(out)
    keep = int(c["importance_sample_ratio"] * P)
    more = int(c["oversample_ratio"] * P)
    L = L if c["deep_supervision"] else 1
    for role, text, shape, each in (("points_match", "match.{frame}", [1, P, 2], {"prediction": L, "frame": case.rows}),
                                    ("points_oversample", "over", [M, more, 2], {"prediction": L}),
                                    ("points_random", "rand", [M, P - keep, 2], {"prediction": L})):
        case.inputs.append({"role": role, "make": "tensor", "name": name + ".{prediction}." + text, "shape": shape, "scale": 0.5,
                            "offset": 0.5, "for": each})
    total, indices = 0, []
    for l in range(L):
        at = "%s.%d." % (name, l)
        points = ([cases.probe.tensor(at + "match.%d" % b, (1, P, 2), 0.5, 0.5) for b in range(case.rows)],
                  cases.probe.tensor(at + "over", (M, more, 2), 0.5, 0.5), cases.probe.tensor(at + "rand", (M, P - keep, 2), 0.5, 0.5))
        classes, masks = out[-1] if l == 0 else out[l - 1]
        terms, rows = set_loss(c, classes, masks, found, truth, points)
        indices.append(rows)
        case.losses.update({k + ("_%d" % (l - 1) if l else ""): v for k, v in terms.items()})
        total = total + sum(terms.values())
    case.losses["total"] = total
    case.more["matching"] = {"order": "[L][frame] -> [query indices, target indices]", "indices": indices}
    case.gradients(net, rename, total)
    dead = ("key.bias", "k_proj.bias")
    case.zero(lambda k: k.endswith(dead))
    return case
