"""One fp32 training step (forward, backward, AdamW): ours against PyTorch eager on the same cores. Each round starts one
process of each system, one after the other; a process does nothing but build the model and train, so the peak of its
memory (VmHWM) is that of training. Also the deformable attention's forward and backward against the grid_sample
formulation, and how long plans take to build. Run it through bench/train-step.sh.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import machine

GOAL_TIME, GOAL_MEMORY, GOAL_DEFORM, GOAL_BUILD = 0.6, 0.75, 0.1, 2000.0
WARMUP = 2
LARGEST = (("pvt_v2_b5", 224), ("swin_b", 224), ("sam_vit_h", 1024))


def peak_kib():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


# ---------------------------------------------------------------- the process that trains with PyTorch

def problem(net, batch, resolution):
    """(module in training mode, function of no arguments that gives the loss)."""
    import torch
    import torch.nn.functional as F
    import avesformer
    import backbones

    frames = torch.randn(batch, 3, resolution, resolution)
    if net.startswith("avesformer-"):
        m = avesformer.AVESFormer(net.split("-")[1], resolution=resolution).train()
        m.vggish.requires_grad_(False)  # frozen in ours too
        audio, target = torch.randn(batch, 1, 96, 64), (torch.rand(batch, 1, resolution, resolution) > 0.5).float()
        return m, lambda: F.binary_cross_entropy_with_logits(m(audio, frames), target)
    m = backbones.module(net).train()
    return m, lambda: sum((y * y).mean() for y in m(frames))


def child(args):
    import torch
    import avesformer  # noqa: F401 what the model needs is part of the baseline
    import backbones  # noqa: F401
    before = peak_kib()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    module, loss = problem(args.child, args.batch, args.resolution)
    opt = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    ms = []
    for i in range(WARMUP + args.runs):
        t = time.perf_counter_ns()
        opt.zero_grad(set_to_none=True)
        loss().backward()
        opt.step()
        if i >= WARMUP:
            ms.append((time.perf_counter_ns() - t) / 1e6)
    print(json.dumps({"ms": ms, "before_kib": before, "peak_kib": peak_kib(), "threads": torch.get_num_threads()}))


# ---------------------------------------------------------------- measuring both

def ours(args, net, threads):
    model = ["--backbone-only", net]
    if net.startswith("avesformer-"):
        model = ["--model", "avesformer", "--backbone", net.split("-")[1], "--dropout", "0"]
    return machine.run_json([args.trial, "bench-step"] + model +
                            ["--batch", str(args.batch), "--resolution", str(args.resolution), "--threads", str(threads),
                             "--runs", str(args.runs)], threads)


def theirs(args, net, threads):
    return machine.run_json([sys.executable, os.path.abspath(__file__), "--child", net, "--batch", str(args.batch),
                             "--resolution", str(args.resolution), "--threads", str(threads), "--runs", str(args.runs)],
                            threads)


def measure(args, net, threads):
    systems = {"ours": ours, "eager": theirs}
    ms, before, peak = ({k: [] for k in systems} for _ in range(3))
    for _ in range(args.rounds):
        for name, run in systems.items():
            r = run(args, net, threads)
            ms[name] += r["ms"]
            before[name].append(r["before_kib"] / 1024)
            peak[name].append(r["peak_kib"] / 1024)
    row = {"net": net, "threads": threads}
    for name in systems:
        row[name] = (statistics.median(ms[name]), min(ms[name]), machine.p90(ms[name]))
        row[name + " MiB"] = (max(peak[name]), statistics.median(before[name]))
    row["time"] = row["ours"][0] / row["eager"][0]
    (po, bo), (pe, be) = row["ours MiB"], row["eager MiB"]
    row["absolute"], row["above"] = po / pe, (po - bo) / (pe - be)
    print("%-22s %d threads: ours %.0f ms, eager %.0f ms, %.2f; %.0f MiB against %.0f, %.2f (above the start %.2f)" %
          (net, threads, row["ours"][0], row["eager"][0], row["time"], po, pe, row["absolute"], row["above"]), flush=True)
    return row


def verdict(value, goal):
    return "met" if value <= goal else "missed"


def table(args, rows):
    out = ["| model | threads | ours, ms | eager, ms | time, ours / eager | ours, MiB | eager, MiB | memory, ours / eager | "
           "above the start |", "| " + " | ".join(["---"] * 9) + " |"]
    for r in rows:
        cells = [r["net"], str(r["threads"])] + ["%.0f (%.0f, %.0f)" % r[k] for k in ("ours", "eager")]
        cells += ["**%.2f**" % r["time"]] + ["%.0f (%.0f)" % r[k + " MiB"] for k in ("ours", "eager")]
        out.append("| " + " | ".join(cells + ["**%.2f**" % r["absolute"], "**%.2f**" % r["above"]]) + " |")
    out += ["", "Times: median (minimum, 90th percentile) of %d rounds of %d steps each after %d others, a process per round, "
            "the systems in turns." % (args.rounds, args.runs, WARMUP),
            "Memory: largest resident size of the process (before the model is made; for PyTorch after its imports). The last "
            "column compares what either system needs beyond that.", ""]
    for r in rows:
        out.append("Goal, time at most %.2f: %s, %d threads: %.2f, %s. Goal, memory at most %.2f: %.2f, %s; above the start "
                   "%.2f, %s." % (GOAL_TIME, r["net"], r["threads"], r["time"], verdict(r["time"], GOAL_TIME), GOAL_MEMORY,
                                  r["absolute"], verdict(r["absolute"], GOAL_MEMORY), r["above"],
                                  verdict(r["above"], GOAL_MEMORY)))
    return out


# ---------------------------------------------------------------- plans

def build_times(args):
    out = ["", "## Building plans", "", "| model | input | plan | build, ms |", "| --- | --- | --- | --- |"]
    worst = 0
    for net, size in LARGEST:
        for training in (False, True):
            cmd = [args.trial, "explain", "--backbone-only", net, "--resolution", str(size)] + ["--training"] * training
            r = subprocess.run(cmd, capture_output=True, text=True)
            what = "training" if training else "inference"
            if r.returncode != 0:
                out.append("| %s | %d | %s | %s |" % (net, size, what, r.stderr.strip().splitlines()[-1]))
                continue
            ms = float(r.stdout.rsplit("built in", 1)[1].split()[0])
            worst = max(worst, ms)
            out.append("| %s | %d | %s | %.0f |" % (net, size, what, ms))
    return out + ["", "Goal, at most %.0f ms: %.0f, %s." % (GOAL_BUILD, worst, verdict(worst, GOAL_BUILD))]


# ---------------------------------------------------------------- deformable attention

def deform_torch(runs, side, batch):
    """Milliseconds of forward and backward of the grid_sample formulation: 8 heads x 32 channels, 3 levels, 4 points."""
    import torch
    import torch.nn.functional as F
    heads, d, levels, points = 8, 32, 3, 4
    sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]
    n = sum(h * w for h, w in sizes)
    value = torch.randn(batch, n, heads * d, requires_grad=True)
    loc = torch.rand(batch, n, heads, levels, points, 2, requires_grad=True)
    weight = torch.rand(batch, n, heads, levels, points, requires_grad=True)
    gy = torch.randn(batch, n, heads * d)

    def forward():
        v_all, grid, out, start = value.view(batch, n, heads, d), 2 * loc - 1, [], 0
        for i, (h, w) in enumerate(sizes):
            v = v_all[:, start:start + h * w].flatten(2).transpose(1, 2).reshape(batch * heads, d, h, w)
            start += h * w
            g = grid[:, :, :, i].transpose(1, 2).flatten(0, 1)
            out.append(F.grid_sample(v, g, mode="bilinear", padding_mode="zeros", align_corners=False))
        a = weight.transpose(1, 2).reshape(batch * heads, 1, n, levels * points)
        y = (torch.stack(out, -2).flatten(-2) * a).sum(-1).view(batch, heads * d, n)
        return y.transpose(1, 2).contiguous()

    ms = []
    for i in range(1 + runs):
        value.grad = loc.grad = weight.grad = None
        t0 = time.perf_counter_ns()
        y = forward()
        t1 = time.perf_counter_ns()
        y.backward(gy)
        t2 = time.perf_counter_ns()
        if i:
            ms.append(((t1 - t0) / 1e6, (t2 - t1) / 1e6))
    return ms


def deform(args):
    import torch
    torch.manual_seed(0)
    out = ["# Multi-scale deformable attention, forward and backward, fp32", "",
           "Command: `bench/train-step.sh --deform`. 8 heads of 32 channels, 3 levels, 4 points, every token a query.", ""]
    out += machine.lines(args.trial) + ["", "| maps | batch | threads | ours, ms: forward, backward | grid_sample, ms: forward, "
                                        "backward | forward | forward and backward |", "| " + " | ".join(["---"] * 7) + " |"]
    worst = 0
    for threads in [int(t) for t in args.threads.split(",")]:
        torch.set_num_threads(threads)
        for side, batch in ((28, 1), (28, 8), (64, 1)):
            mine, other = [], []
            for _ in range(args.rounds):
                r = machine.run_json([args.kernels, "--msdeform", str(side), str(batch), "-t", str(threads), "-r", str(args.runs)],
                             threads)
                mine += list(zip(r["forward_ms"], r["backward_ms"]))
                other += deform_torch(args.runs, side, batch)
            med = [[statistics.median(s[k] for s in x) for k in (0, 1)] for x in (mine, other)]
            both = sum(med[0]) / sum(med[1])
            worst = max(worst, both)
            out.append("| %d, %d, %d | %d | %d | %.2f, %.2f | %.2f, %.2f | %.3f | **%.3f** |" %
                       (side, side // 2, side // 4, batch, threads, *med[0], *med[1], med[0][0] / med[1][0], both))
            print(out[-1], flush=True)
    out += ["", "Medians of %d rounds of %d runs. Goal, at most %.1f for both: worst %.3f, %s." %
            (args.rounds, args.runs, GOAL_DEFORM, worst, verdict(worst, GOAL_DEFORM)),
            "- load average at the end: %s" % machine.load()]
    return out


def write(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    print("\n".join(lines))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", help="path of avsweep-trial")
    ap.add_argument("--kernels", help="path of bench_kernels")
    ap.add_argument("--nets", default="resnet50,avesformer-resnet18", help="backbones, or avesformer-BACKBONE")
    ap.add_argument("--threads", default="2,1")
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--resolution", type=int, default=224)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--deform", action="store_true", help="deformable attention instead of steps")
    ap.add_argument("--child", help="(for the script itself) train this with PyTorch and print JSON")
    ap.add_argument("--out", default="bench/results")
    args = ap.parse_args()
    if args.child:
        args.threads = int(args.threads)
        return child(args)
    if args.deform:
        return write(os.path.join(args.out, "msdeform.md"), deform(args))
    import torch
    torch.randn(64, 64) @ torch.randn(64, 64)  # maps the BLAS
    about = machine.lines(args.trial)
    rows = [measure(args, net, int(t)) for net in args.nets.split(",") for t in args.threads.split(",")]
    text = ["# Training step, batch %d, %d px, fp32" % (args.batch, args.resolution), "",
            "Command: `bench/train-step.sh`. Forward, backward and AdamW; random weights; inputs ready in memory. Backbones "
            "alone: mean square of all outputs. AVESFormer: VGGish inside and frozen, no dropout; the loss is ours for "
            "avsweep and binary cross-entropy for PyTorch.", ""]
    write(os.path.join(args.out, "train-step.md"),
          text + about + ["- load average at the end: %s" % machine.load(), ""] + table(args, rows) + build_times(args))


if __name__ == "__main__":
    main()
