"""Time of one backbone at T = 1, fp32: ours against PyTorch, in turns round by round on the same cores. Every round times
each system once; a system's figure is the median over all its samples. Run it through bench/backbones.sh.
"""
import argparse
import os
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import avesformer
import machine
import peers
import pvt_v2
import sam
import seaformer
import swin

ALL = ("resnet18,resnet34,resnet50,pvt_v2_b0,pvt_v2_b1,pvt_v2_b2,pvt_v2_b3,pvt_v2_b4,pvt_v2_b5,seaformer_t,seaformer_s,"
       "seaformer_b,seaformer_l,mobilenet_v2,vggish,swin_b,sam_vit_b")
RESOLUTION = {"sam_vit_b": 256, "sam_vit_l": 256, "sam_vit_h": 256}  # a multiple of the patch, as SAVE has it


class MobileNetV2(nn.Module):
    """torchvision's features for one channel, mean, linear 1280 -> 1024, ReLU."""

    def __init__(self):
        super().__init__()
        import torchvision.models as tv
        self.features = tv.mobilenet_v2().features
        self.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        self.embed = nn.Linear(1280, 1024)

    def forward(self, x):
        return F.relu(self.embed(self.features(x).mean((2, 3))))


def module(name):
    if name.startswith("resnet"):
        return avesformer.ResNetFeatures(name)
    if name.startswith("pvt_v2_b"):
        return pvt_v2.PVTv2(int(name[-1]))
    if name.startswith("seaformer_"):
        return seaformer.SeaFormer(name[-1])
    if name == "swin_b":
        return swin.Swin()
    if name.startswith("sam_vit_"):
        return sam.ImageEncoder(name[4:], RESOLUTION[name], 0)
    if name == "vggish":
        return avesformer.VGGish()
    if name == "mobilenet_v2":
        return MobileNetV2()
    sys.exit("no PyTorch module for '%s'" % name)


def training_peers(net, x):
    def step():
        net.zero_grad(set_to_none=False)
        out = net(x)
        sum(y.square().mean() for y in (out if isinstance(out, list) else [out])).backward()

    return {"eager": step}


def time_torch(run, n, training):
    samples = []
    with torch.set_grad_enabled(training):
        for _ in range(peers.WARMUP):  # caches of the previous system are cold
            run()
        for _ in range(n):
            t = time.perf_counter_ns()
            run()
            samples.append((time.perf_counter_ns() - t) / 1e6)
    return samples


def time_ours(args, name, threads, n):
    cmd = [args.trial, "bench-forward", "--backbone-only", name, "--resolution", str(RESOLUTION.get(name, args.resolution)), "--threads",
           str(threads), "--runs", str(n), "--batch", str(args.batch), "--json"] + ["--training"] * args.training
    return machine.run_json(cmd, threads)


def measure(args, name, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    is_audio = name in ("vggish", "mobilenet_v2")
    # the audio encoder is frozen: running statistics in training too
    net = module(name).train(args.training and name != "mobilenet_v2")
    side = RESOLUTION.get(name, args.resolution)
    x = torch.randn(args.batch, *((1, 96, 64) if is_audio else (3, side, side)))
    runs = training_peers(net, x) if args.training else peers.forward(net, [x], args.peers.split(","))
    samples, ours = {k: [] for k in runs}, []
    for _ in range(args.rounds):
        ours.append(time_ours(args, name, threads, args.runs))
        for k, run in runs.items():
            samples[k] += time_torch(run, args.runs, args.training)
    count = sum(p.numel() for p in net.parameters())
    if count != ours[0]["params"]:
        sys.exit("%s: the PyTorch module has %d parameters, ours %d" % (name, count, ours[0]["params"]))
    row = {"backbone": name, "threads": threads, "params": count, "macs": ours[0]["macs"]}
    for k, s in samples.items():
        row[k] = (statistics.median(s), min(s), machine.p90(s))
    row["ours"] = (statistics.median(r["median_ms"] for r in ours), min(r["min_ms"] for r in ours),
                   statistics.median(r["p90_ms"] for r in ours))
    print("%-14s %d threads: ours %.2f ms, eager %.2f ms, %.2f" %
          (name, threads, row["ours"][0], row["eager"][0], row["ours"][0] / row["eager"][0]), flush=True)
    return row


def table(args, rows):
    names = [n for n in ("ours",) + peers.NAMES if any(n in r for r in rows)]
    head = ["backbone", "parameters, M", "multiply-adds, M", "threads"] + ["%s, ms" % n for n in names]
    head += ["ours / eager"] + (["ours / best peer"] if len(names) > 2 else [])
    out = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for r in rows:
        cells = [r["backbone"], "%.2f" % (r["params"] / 1e6), "%.0f" % (r["macs"] / 1e6), str(r["threads"])]
        cells += ["%.2f (%.2f, %.2f)" % r[n] if n in r else "-" for n in names]
        cells.append("**%.2f**" % (r["ours"][0] / r["eager"][0]))
        if len(names) > 2:
            cells.append("%.2f" % (r["ours"][0] / min(v[0] for k, v in r.items() if k in peers.NAMES)))
        out.append("| " + " | ".join(cells) + " |")
    return out + ["", "Cells: median (minimum, 90th percentile) of %d rounds of %d runs each after %d others, the systems in "
                  "turns." % (args.rounds, args.runs, peers.WARMUP)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", required=True, help="path of avsweep-trial")
    ap.add_argument("--backbones", default=ALL)
    ap.add_argument("--threads", default="2,1")
    ap.add_argument("--peers", default=",".join(peers.NAMES))
    ap.add_argument("--resolution", type=int, default=224)
    ap.add_argument("--batch", type=int, default=1)
    ap.add_argument("--training", action="store_true", help="forward and backward of the mean square of all outputs")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    torch.randn(64, 64) @ torch.randn(64, 64)  # maps the BLAS
    about = machine.lines(args.trial)
    rows = [measure(args, b, int(t)) for b in args.backbones.split(",") for t in args.threads.split(",")]
    what = "Forward and backward" if args.training else "Forward"
    given = [a for a in sys.argv[1:] if a not in ("--trial", args.trial, "--out", args.out)]
    text = ["# %s of backbones alone, batch %d, %d px (SAM 256), fp32" % (what, args.batch, args.resolution), "",
            "Command: `%s`. Random weights; inputs ready in memory; audio patches 96 x 64." %
            " ".join(["bench/backbones.sh"] + given), ""]
    text += about + ["- load average at the end: %s" % machine.load(), ""] + table(args, rows)
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        f.write("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
