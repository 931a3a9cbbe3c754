"""Cases of SAVE and of SAMA-AVS: SAM's encoder and decoder from the peer at free sizes, with the adapters on and off."""
import torch
import torch.nn as nn
import torch.nn.functional as F

import cases
import check
import sam as peer


class Attention(peer.Attention):
    def __init__(self, dim, inner, heads):
        super().__init__(dim, inner)
        self.heads = heads

    def forward(self, q, k, v):
        q, k, v = (p(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        self.weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        self.made = self.out_proj((self.weights @ v).transpose(1, 2).flatten(2))
        return self.made


class Encoder(nn.Module):
    def __init__(self, c, size):
        super().__init__()
        patch, dim, depth, heads, window, whole = size
        grid = c["resolution"] // patch
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        ratio = c["adapter_ratio"] if c.get("image_adapter") else 0
        self.blocks = nn.ModuleList([peer.Block(dim, heads, 0 if i in whole else window, grid, ratio) for i in range(depth)])
        e = c["embed_dim"]
        self.neck = nn.Sequential(nn.Conv2d(dim, e, 1, bias=False), peer.LayerNorm2d(e),
                                  nn.Conv2d(e, e, 3, padding=1, bias=False), peer.LayerNorm2d(e))

    def forward(self, x, inject, note):
        x = self.patch_embed.proj(x).permute(0, 2, 3, 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x if inject is None else x + inject[i][:, None, None])
            note("block%d" % i, x)
        return self.neck(x.permute(0, 3, 1, 2))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        e, heads = c["embed_dim"], c["num_heads"]
        self.transformer = peer.TwoWay(e)
        self.transformer.layers = nn.ModuleList([peer.TwoWayBlock(e, i == 0) for i in range(c["num_decoder_layers"])])
        for b in self.transformer.layers:
            b.self_attn, b.mlp = Attention(e, e, heads), peer.Mlp(e, c["ffn_dim"], F.relu)
            b.cross_attn_token_to_image, b.cross_attn_image_to_token = (Attention(e, e // 2, heads) for _ in range(2))
        self.transformer.final_attn_token_to_image = Attention(e, e // 2, heads)
        self.iou_token, self.mask_tokens = nn.Embedding(1, e), nn.Embedding(4, e)
        self.output_upscaling = nn.Sequential(nn.ConvTranspose2d(e, e // 4, 2, 2), peer.LayerNorm2d(e // 4), nn.GELU(),
                                              nn.ConvTranspose2d(e // 4, e // 8, 2, 2), nn.GELU())
        self.output_hypernetworks_mlps = nn.ModuleList([peer.HyperMlp(e, e, e, e // 8) for _ in range(4)])
        h = c["iou_hidden_dim"]
        self.iou_prediction_head = peer.HyperMlp(e, h, h, 4)

    def forward(self, image, pe, sparse, dense):
        b, c, h, w = image.shape
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(b, -1, -1)
        tokens = tokens if sparse is None else torch.cat([tokens, sparse], 1)
        q, k = self.transformer(tokens, (image + dense).flatten(2).transpose(1, 2), pe)
        up = self.output_upscaling(k.transpose(1, 2).reshape(b, c, h, w))
        hyper = torch.stack([m(q[:, 1 + i]) for i, m in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = (hyper @ up.flatten(2)).view(b, 4, 4 * h, 4 * w)
        return masks, self.iou_prediction_head(q[:, 0])


class Sound(nn.Module):
    def __init__(self, c, dim, depth):
        super().__init__()
        self.c, hidden = c, c["audio_hidden_dim"]
        self.mlps = nn.ModuleList([peer.Mlp(128, hidden, F.gelu) for _ in range(depth)])
        for m in self.mlps:
            m.lin2 = nn.Linear(hidden, 128)
        self.inject, self.prompt = nn.Linear(128, dim), nn.Linear(128, c["embed_dim"])

    def forward(self, a):
        s, out = a, []
        for mlp in self.mlps:
            s = s + mlp(s) if self.c["audio_residual"] else mlp(a)
            out.append(self.inject(s))
        return out if self.c["audio_inject"] else None, self.prompt(s)[:, None] if self.c["audio_prompt"] else None


class Net(nn.Module):
    def __init__(self, system, c, size):
        super().__init__()
        _, dim, depth, *_ = size
        e = c["embed_dim"]
        self.system, self.c, self.grid = system, c, c["resolution"] // size[0]
        self.image_encoder, self.mask_decoder = Encoder(c, size), Decoder(c)
        layer = nn.Module()
        layer.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, e // 2))
        if system == "sama":
            self.pe_layer, self.no_mask_embed = layer, nn.Embedding(1, e)
            g = self.image_encoder.prompt_generator = nn.Module()
            g.shared_mlp = nn.Linear(c["audio_hidden_dim"], dim)
            for i in range(depth):
                setattr(g, "lightweight_mlp_%d" % i, nn.Sequential(nn.Linear(128, c["audio_hidden_dim"]), nn.GELU()))
            return
        if c["audio_adapter"]:
            self.audio_adapter = Sound(c, dim, depth)
        self.prompt_encoder = nn.Module()
        self.prompt_encoder.pe_layer, self.prompt_encoder.no_mask_embed = layer, nn.Embedding(1, e)

    def forward(self, audio, frames, note):
        inject = sparse = None
        if self.system == "sama":
            g = self.image_encoder.prompt_generator
            inject = [g.shared_mlp(getattr(g, "lightweight_mlp_%d" % i)(audio)) for i in range(len(self.image_encoder.blocks))]
            layer, none = self.pe_layer, self.no_mask_embed
        else:
            if self.c["audio_adapter"]:
                inject, sparse = self.audio_adapter(audio)
            layer, none = self.prompt_encoder.pe_layer, self.prompt_encoder.no_mask_embed
        image = self.image_encoder(frames, inject, note)
        pe = peer.dense_position(layer.positional_encoding_gaussian_matrix, self.grid)
        low, iou = self.mask_decoder(image, pe, sparse, none.weight[:, :, None, None])
        low = low[:, :1]
        return image, low, iou[:, :1], cases.adaptive_resize(low, frames.shape[2:])


def draw(system, rng, fixed):
    c = {"task": rng.choice(("s4", "ms3")), "num_classes": 1, "frames": rng.choice((1, 2, 5)),
         "backbone": rng.choice(("sam_vit_custom",) * 9 + ("sam_vit_b",)), "bce_weight": rng.choice((1.0, 0.4)),
         "iou_weight": rng.choice((1.0, 2.0)), "audio_hidden_dim": rng.choice((24, 512))}
    if system == "save":
        c.update(image_adapter=rng.choice((True, True, False)), adapter_ratio=rng.choice((0.1, 0.25, 0.5, 1.0)),
                 audio_adapter=rng.choice((True, True, True, False)), audio_residual=rng.choice((True, False)),
                 audio_inject=rng.choice((True, True, False)), audio_prompt=rng.choice((True, True, False)))
    c.update({k: v for k, v in fixed.items() if not k.startswith("backbone_")})
    custom = c["backbone"] == "sam_vit_custom"
    c["resolution"] = fixed.get("resolution", rng.choice((64, 96, 160) if custom else (256,)))
    patch = rng.choice((8, 16))
    if c.get("image_adapter") and c["resolution"] // patch % 2:
        patch = 8
    if custom:
        depth = rng.choice((1, 2, 4))
        c.update(backbone_patch_size=patch, backbone_embed_dim=rng.choice((32, 48)), backbone_depths=depth, backbone_num_heads=2,
                 backbone_window_size=rng.choice((2, 3, 5)), backbone_global_blocks=sorted(rng.sample(range(depth), depth // 2)) or [0],
                 embed_dim=rng.choice((32, 64)), num_heads=rng.choice((1, 2)), ffn_dim=rng.choice((40, 64)),
                 iou_hidden_dim=rng.choice((16, 32)), num_decoder_layers=rng.choice((1, 2, 3)))
    c.update(fixed)
    return c


def size_of(c):
    """Patch, width, depth, heads, window, blocks that see the whole map."""
    if c["backbone"] == "sam_vit_custom":
        return tuple(c["backbone_" + k] for k in ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "global_blocks"))
    dim, depth, heads, whole = peer.SIZES[c["backbone"][4:]]
    return 16, dim, depth, heads, 14, whole


def make(system, name, rng, fixed):
    given = draw(system, rng, fixed)
    c = dict({"embed_dim": 256, "num_heads": 8, "ffn_dim": 2048, "iou_hidden_dim": 256, "num_decoder_layers": 2}, **given)
    size = size_of(c)
    if system == "save":
        if not c["image_adapter"]:
            given["adapter_ratio"] = None
        if not c["audio_adapter"]:
            given.update({k: None for k in ("audio_residual", "audio_inject", "audio_prompt", "audio_hidden_dim")})
    phase, clips = rng.choice(("train", "eval")), rng.choice((1, 2, 3))
    while clips > 1 and clips * c["frames"] > (6 if c["backbone"] == "sam_vit_custom" else 2):
        clips -= 1
    case = cases.Case(name, system, phase, given, clips, rng)
    net = case.fill(Net(system, c, size), check.same).train(phase == "train")
    frames, audio = case.frames(), case.audio_feature()
    target = case.target(1)
    rows = case.supervised()
    image, low, iou, z = net(audio, frames, case.note)
    case.note("image_embedding", image)
    case.keep("mask_logits_low", low)
    case.keep("iou", iou)
    z, t = z[rows], target[rows]
    p, g = z.sigmoid().flatten(1), t.flatten(1)
    dot = (p * g).sum(1)
    bce, soft = F.binary_cross_entropy_with_logits(z, t), (1 - dot / (p.sum(1) + g.sum(1) - dot)).mean()
    total = c["bce_weight"] * bce + c["iou_weight"] * soft
    case.losses = {"bce": bce, "iou": soft, "total": total}
    if phase == "eval":
        case.dissipation(net)
    else:
        own = (".Adapter.", "audio_adapter.", "mask_decoder.", "prompt_generator.", "no_mask_embed")
        frozen = lambda k: not any(o in k for o in own) or k.startswith("prompt_encoder.")
        case.gradients(net, check.same, total, frozen)
        dead = ("k_proj.bias",) + tuple("output_hypernetworks_mlps.%d." % i for i in (1, 2, 3))
        case.zero(lambda k: any(d in k for d in dead))
        case.more["frozen_gradients"] = {k: v for k, v in case.more["frozen_gradients"].items() if "qkv.bias" not in k}
    return case
