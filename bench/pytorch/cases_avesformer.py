"""Cases of AVESFormer: avesformer_reference.py with all its options; PVTv2 from this folder."""
import torch

import cases
import check

KIND = {"query_generator": "generator", "num_queries": "num_queries", "elf_stages": "elf", "num_heads": "heads",
        "num_points": "points", "neck_kernel_size": "neck_kernel", "mask_mlp_dim": "mlp_dim", "num_out_convs": "out_convs"}


def draw(rng, fixed):
    task = rng.choice(("s4", "ms3", "avss"))
    gen = rng.choice(("none", "qg", "bqg", "pqg"))
    c = {"task": task, "num_classes": 71 if task == "avss" else 1, "frames": rng.choice((1, 2, 5)),
         "backbone": rng.choice(("resnet18", "resnet18", "resnet34", "resnet50", "pvt_v2_b0", "pvt_v2_b1")),
         "resolution": rng.choice((64, 96, [64, 96], [96, 32])), "embed_dim": rng.choice((64, 128, 256)),
         "num_heads": rng.choice((2, 4, 8)), "query_generator": gen, "num_queries": rng.choice((1, 7, 16, 300)),
         "elf_stages": "".join(rng.choice("CT") for _ in range(3)), "blocks_per_stage": rng.choice((1, 2)),
         "fusion": rng.choice(("dissipation", "tpavi", "cha", "sigmoid", "cross")), "num_points": rng.choice((1, 4)),
         "ffn_dim": rng.choice((96, 512)), "neck_kernel_size": rng.choice((1, 3, 5)), "mask_mlp_dim": rng.choice((64, 256)),
         "num_out_convs": rng.choice((1, 2, 3)), "num_generator_layers": rng.choice((1, 3)), "generator_ffn_dim": rng.choice((64, 200)),
         "iou_weight": rng.choice((1.8, 0.7)), "dice_weight": rng.choice((1.0, 0.3)), "aux_loss": rng.choice(("mix", "none")),
         "aux_weight": 0.2, "iou_loss": rng.choice(("bce", "soft"))}
    c.update(fixed)
    if c["query_generator"] == "none":
        c["num_queries"] = 1
    if c["query_generator"] in ("none", "bqg"):
        c["num_generator_layers"] = c["generator_ffn_dim"] = None
    if c["aux_loss"] == "none":
        c["aux_weight"] = None
    if c["num_classes"] > 1:
        c["iou_loss"] = None
    if "T" not in c["elf_stages"]:
        c["fusion"] = c["num_points"] = None
    return c


def build(c):
    import avesformer_reference as ref
    ref.CHANNELS.update(resnet34=(64, 128, 256, 512))
    own = {KIND.get(k, k): v for k, v in c.items() if KIND.get(k, k) in ref.DEFAULTS and v is not None}
    g = "qg" if c["query_generator"] == "qg" else "pqg"
    own["dropout"] = 0.0
    if c["num_generator_layers"]:
        own[g + "_layers"], own[g + "_hidden"] = c["num_generator_layers"], c["generator_ffn_dim"]
    if g == "qg":
        own["qg_queries"] = c["num_queries"]
    if c["backbone"].startswith("pvt"):
        own["backbone"] = "resnet18"
        backbone, channels, rename = cases.features(c["backbone"])
        narrow, ref.CHANNELS["resnet18"] = ref.CHANNELS["resnet18"], channels
        net = ref.AVESFormer(vggish=torch.nn.Identity(), **own)
        ref.CHANNELS["resnet18"] = narrow
        net.backbone = backbone
        return ref, net, rename
    return ref, ref.AVESFormer(vggish=torch.nn.Identity(), **own), check.same


def make(_, name, rng, fixed):
    c = draw(rng, fixed)
    phase, clips = rng.choice(("train", "train", "eval")), rng.choice((1, 2, 3))
    while clips * c["frames"] > 6:
        clips -= 1
    clips = max(clips, 1)
    if phase == "train" and clips * c["frames"] == 1:
        clips = 2
    case = cases.Case(name, "avesformer", phase, c, clips, rng)
    ref, net, rename = build(c)
    case.fill(net, rename).train(phase == "train")
    frames, audio = case.frames(), case.audio_feature()
    target = case.target(c["num_classes"])
    rows = case.supervised()
    trace = {}
    logits, feature = net(audio, frames, trace)
    stats = {} if phase == "train" else ref.model_dissipation(net)
    case.keep("logits" if c["num_classes"] == 1 else "logits_stride16", logits if c["num_classes"] == 1 else logits[:, :, ::16, ::16])
    for k, v in trace.items():
        if k not in ("vggish", "logits", "position"):
            case.note(k, v)
    terms = ref.losses(logits[rows], feature[rows], target[rows], c["iou_weight"], c["dice_weight"], c["aux_weight"] or 0)
    if c["iou_loss"] == "soft":
        terms["total"] = (c["iou_weight"] * terms["iou_soft"] + c["dice_weight"] * terms["dice"] +
                          (c["aux_weight"] or 0) * terms["aux"])
    used = "iou_soft" if c["iou_loss"] == "soft" else "iou_bce"
    case.losses = {k: v for k, v in terms.items() if k in (used, "dice", "total") or (k == "aux" and c["aux_weight"])}
    case.more["dissipation"] = stats
    case.gradients(net, rename, terms["total"])
    return case
