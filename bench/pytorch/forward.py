"""T=1 forward time of AVESFormer at 224 px, fp32, VGGish included: ours against PyTorch, interleaved in rounds on the
same cores. Every round times each system once; a system's figure is the median over all its samples. Run it through
bench/forward.sh.
"""
import argparse
import os
import statistics
import sys
import time

import torch

import avesformer
import machine
import peers

GOAL = 0.4  # of eager PyTorch, ResNet-18


def runs_of(backbone, resolution, wanted):
    """name -> function of no arguments that runs one query."""
    torch.manual_seed(0)
    model = avesformer.AVESFormer(backbone, resolution=resolution).eval()
    count = sum(p.numel() for p in model.parameters())
    if count != avesformer.PARAMETERS[backbone]:
        sys.exit("the PyTorch module has %d parameters, AVESFormer has %d" % (count, avesformer.PARAMETERS[backbone]))
    audio, frames = torch.randn(1, 1, 96, 64), torch.randn(1, 3, resolution, resolution)
    return peers.forward(model, [audio, frames], wanted)


def time_torch(run, n):
    samples = []
    with torch.no_grad():
        run()  # caches of the previous system are cold
        for _ in range(n):
            t = time.perf_counter_ns()
            run()
            samples.append((time.perf_counter_ns() - t) / 1e6)
    return samples


def time_ours(trial, backbone, resolution, threads, n):
    cmd = [trial, "bench-forward", "--model", "avesformer", "--backbone", backbone, "--resolution", str(resolution),
           "--threads", str(threads), "--runs", str(n), "--json"]
    return machine.run_json(cmd, threads)


def measure(args, backbone, threads):
    torch.set_num_threads(threads)
    runs = runs_of(backbone, args.resolution, args.peers.split(","))
    torch_samples, our_rounds = {name: [] for name in runs}, []
    for _ in range(args.rounds):
        if args.trial:
            our_rounds.append(time_ours(args.trial, backbone, args.resolution, threads, args.runs))
        for name, run in runs.items():
            torch_samples[name] += time_torch(run, args.runs)
    row = {"backbone": backbone, "threads": threads}
    for name, s in torch_samples.items():
        row[name] = (statistics.median(s), min(s), machine.p90(s))
    if our_rounds:
        row["ours"] = (statistics.median(r["median_ms"] for r in our_rounds), min(r["min_ms"] for r in our_rounds),
                       statistics.median(r["p90_ms"] for r in our_rounds))
    return row


def table(rows, rounds, runs):
    names = [n for n in ("ours",) + peers.NAMES if any(n in r for r in rows)]
    head = ["backbone", "threads"] + ["%s, ms" % n for n in names] + ["ours / eager", "ours / best peer"]
    out = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for r in rows:
        cells = [r["backbone"], str(r["threads"])]
        cells += ["%.1f (%.1f, %.1f)" % r[n] if n in r else "-" for n in names]
        best = min(v[0] for k, v in r.items() if k in peers.NAMES)
        if "ours" in r:
            cells += ["**%.2f**" % (r["ours"][0] / r["eager"][0]), "%.2f" % (r["ours"][0] / best)]
        else:
            cells += ["-", "-"]
        out.append("| " + " | ".join(cells) + " |")
    out += ["", "Cells: median (minimum, 90th percentile) of %d rounds of %d queries each, the systems in turns." % (rounds, runs)]
    for r in rows:
        if "ours" in r and r["backbone"] == "resnet18":
            ratio = r["ours"][0] / r["eager"][0]
            out.append("Goal for ResNet-18, at most %.1f of eager PyTorch: %d threads %.2f, %s." %
                       (GOAL, r["threads"], ratio, "met" if ratio <= GOAL else "missed"))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", help="path of avsweep-trial; without it PyTorch alone is timed")
    ap.add_argument("--backbones", default="resnet18,resnet50")
    ap.add_argument("--threads", default="2,1")
    ap.add_argument("--peers", default=",".join(peers.NAMES))
    ap.add_argument("--resolution", type=int, default=224)
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    torch.randn(64, 64) @ torch.randn(64, 64)  # maps the BLAS
    about = machine.lines(args.trial or "")
    rows = [measure(args, b, int(t)) for b in args.backbones.split(",") for t in args.threads.split(",")]
    text = ["# Forward time, AVESFormer, T = 1, %d px, fp32, VGGish inside" % args.resolution, "",
            "Command: `bench/forward.sh`. Random weights; evaluation mode; inputs ready in memory.", ""]
    text += about + ["- load average at the end: %s" % machine.load(), ""] + table(rows, args.rounds, args.runs)
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        f.write("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
