"""Cases of SAM itself at free sizes: four sets of prompts (none, points, boxes, all with a mask) in one step, with every gradient.
Prompts are encoded here as segment-anything describes it; encoder and decoder are those of cases_sam.py.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import cases
import cases_sam
import check
import sam as peer

SETS = ("none", "points", "boxes", "mask")


class Prompts(nn.Module):
    def __init__(self, e, c):
        super().__init__()
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, e // 2))
        self.point_embeddings = nn.ModuleList([nn.Embedding(1, e) for _ in range(4)])
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, e), nn.Embedding(1, e)
        self.mask_downscaling = nn.Sequential(nn.Conv2d(1, c // 4, 2, 2), peer.LayerNorm2d(c // 4), nn.GELU(), nn.Conv2d(c // 4, c, 2, 2),
                                              peer.LayerNorm2d(c), nn.GELU(), nn.Conv2d(c, e, 1))

    def at(self, xy, side):
        a = (2 * (xy + 0.5) / side - 1) @ self.pe_layer.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat([a.sin(), a.cos()], -1)

    def points(self, xy, labels, side, padded):
        x = torch.where((labels < 0)[..., None], self.not_a_point_embed.weight,
                        self.at(xy, side) + torch.where((labels == 1)[..., None], self.point_embeddings[1].weight, self.point_embeddings[0].weight))
        return torch.cat([x, self.not_a_point_embed.weight.expand(len(x), 1, -1)], 1) if padded else x

    def boxes(self, box, side):
        return self.at(box.view(-1, 2, 2), side) + torch.cat([self.point_embeddings[2].weight, self.point_embeddings[3].weight])


class Net(nn.Module):
    def __init__(self, c, size):
        super().__init__()
        self.image_encoder, self.mask_decoder = cases_sam.Encoder(c, size), cases_sam.Decoder(c)
        self.prompt_encoder = Prompts(c["embed_dim"], c["mask_channels"])

    def forward(self, image, name, given, side):
        """image (1,E,G,G) -> sparse prompts, all masks, all qualities"""
        p, sparse, dense = self.prompt_encoder, None, self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        points, labels, box, mask = given
        if name == "points":
            sparse = p.points(points, labels, side, True)
        elif name == "boxes":
            sparse = p.boxes(box, side)
        elif name == "mask":
            sparse = torch.cat([p.points(points[:1], labels[:1], side, False), p.boxes(box[:1], side)], 1)
            dense = p.mask_downscaling(mask)
        rows = 1 if sparse is None else len(sparse)
        pe = peer.dense_position(p.pe_layer.positional_encoding_gaussian_matrix, image.shape[2])
        return (sparse,) + self.mask_decoder(image.expand(rows, -1, -1, -1), pe, sparse, dense)


def make(_, name, rng, fixed):
    c = cases_sam.draw("sam", rng, fixed)
    for k in ("task", "num_classes", "bce_weight", "iou_weight", "audio_hidden_dim"):
        del c[k]
    own = dict({"embed_dim": 256, "num_heads": 8, "ffn_dim": 2048, "iou_hidden_dim": 256, "num_decoder_layers": 2, "mask_channels": 16}, **c)
    if "mask_channels" not in fixed and c["backbone"] == "sam_vit_custom":
        own["mask_channels"] = c["mask_channels"] = rng.choice((4, 12))
    phase, batch, sets, count = rng.choice(("train", "eval")), rng.choice((1, 2, 3)), rng.choice((1, 2, 3)), rng.choice((1, 2, 4))
    case = cases.Case(name, "sam", phase, dict(c, frames=1), batch, rng)
    net = case.fill(Net(own, cases_sam.size_of(own)), check.same)
    frames, side = case.frames(), c["resolution"]
    del case.config["frames"], case.extra["clips"]
    points = case.tensor("points", (sets, count, 2), side / 2, side / 2)
    labels = case.values("point_labels", [[rng.choice((1, 1, 0, -1)) for _ in range(count)] for _ in range(sets)])
    corners = [side / 4, side / 4, 3 * side / 4, 3 * side / 4]
    box = case.tensor("boxes", (sets, 4), side / 8)
    case.inputs[-1]["then"] = [{"do": "add", "values": corners}]
    grid = 4 * frames.shape[2] // cases_sam.size_of(own)[0]
    given = points, labels, box + torch.tensor(corners), case.tensor("mask_input", (1, 1, grid, grid), 4.0)
    image = net.image_encoder(frames, None, case.note)
    case.keep("image_embedding", image)
    total = 0
    for i, kind in enumerate(SETS):
        sparse, masks, iou = net(image[i % batch][None], kind, given, side)
        for what, x in (("sparse", sparse), ("multi_low", masks[:, 1:]), ("multi_iou", iou[:, 1:]), ("low", masks[:, :1]), ("iou", iou[:, :1])):
            if x is not None:
                case.keep("%s.%s" % (kind, what), x)
        if kind == "points":  # of an image 100 x 150 that was resized to a part of the input
            z = cases.adaptive_resize(masks[:1, :1], (side, side))[..., :5 * side // 8, :7 * side // 8]
            case.keep("points.upscaled_100x150", cases.adaptive_resize(z, (100, 150)))
        if phase == "eval":
            continue
        where = "%s.target.%s" % (name, kind)
        case.inputs.append({"role": "target." + kind, "make": "mask", "name": where, "shape": [len(masks), 1, side, side], "fraction": 0.3, "cell": 8})
        t = torch.from_numpy((cases.blocks(where, (len(masks), 1, side, side), 8) < -0.4)).to(masks.dtype)
        bce = F.binary_cross_entropy_with_logits(cases.adaptive_resize(masks[:, :1], (side, side)), t)
        dot = ((masks[:, 1:] * case.tensor("weight." + kind, masks[:, 1:].shape)).mean() +
               (iou[:, 1:] * case.tensor("iou_weight." + kind, iou[:, 1:].shape)).mean())
        case.losses.update({kind + ".bce": bce, kind + ".dot": dot})
        total = total + bce + dot
    if phase == "train":
        case.losses["total"] = total
        case.gradients(net, check.same, total)
        case.zero(lambda k: k.endswith("k_proj.bias"))
    return case
