"""T=1 forward time of whole systems, VGGish or MobileNetV2 inside: ours against PyTorch, in turns round by round on the same
cores. Every round times each system once; a system's figure is the median over all its samples. Run it through
bench/forward.sh.
"""
import argparse
import os
import statistics
import sys
import time

import torch

import aavs
import avesformer
import avsegformer
import lightavseg
import machine
import peers
import sam
import tpavi


class System:
    """unused: parameters of ours that the peer leaves out because no forward reads them."""

    def __init__(self, make, options, goal, resolution=224, unused=0):
        self.make, self.options, self.goal, self.resolution, self.unused = make, options, goal, resolution, unused


def aves(backbone):
    return System(lambda r: avesformer.AVESFormer(backbone, resolution=r), ["--model", "avesformer", "--backbone", backbone],
                  0.35)


SECOND_BRANCH = 22063104  # AVSBench's ResNet-50: a copy of the last two stages in every checkpoint


def avseg(backbone, variant, unused=0):
    return System(lambda r: avsegformer.AVSegFormer(backbone, variant),
                  ["--model", "avsegformer", "--backbone", backbone, "--variant", variant], 0.4, unused=unused)


SYSTEMS = {
    "avesformer-resnet18": aves("resnet18"),
    "avesformer-resnet50": aves("resnet50"),
    "avsegformer-resnet50": avseg("resnet50", "paper", SECOND_BRANCH),
    "avsegformer-pvt_v2_b5": avseg("pvt_v2_b5", "paper"),
    "save-vit_b": System(lambda r: sam.Save("vit_b", r), ["--model", "save", "--backbone", "sam_vit_b"], 0.6, 256,
                         unused=5964),  # of the prompt encoder: points, boxes and masks
    "lightavseg-seaformer_l": System(lambda r: lightavseg.LightAVSeg("l"),
                                     ["--model", "lightavseg", "--backbone", "seaformer_l"], 0.6),
    "tpavi-resnet50": System(lambda r: tpavi.Baseline(), ["--model", "tpavi", "--backbone", "resnet50"], 0.6,
                             unused=SECOND_BRANCH),
    "aavs-swin_b": System(lambda r: aavs.Aavs(), ["--model", "aavs", "--stage", "one", "--task", "ms3"], 0.4, 384,
                          unused=986880),  # projections of attention, which stage one loads and never runs
}


def runs_of(system, wanted):
    """(parameters, name -> function of no arguments that runs one query)."""
    torch.manual_seed(0)
    side = system.resolution
    model = system.make(side).eval()
    count = sum(p.numel() for p in model.parameters())
    return count, peers.forward(model, [torch.randn(1, 1, 96, 64), torch.randn(1, 3, side, side)], wanted)


def time_torch(run, n):
    samples = []
    with torch.no_grad():
        run()  # caches of the previous system are cold
        for _ in range(n):
            t = time.perf_counter_ns()
            run()
            samples.append((time.perf_counter_ns() - t) / 1e6)
    return samples


def time_ours(trial, system, threads, n, precision):
    cmd = [trial, "bench-forward"] + system.options + ["--resolution", str(system.resolution), "--threads", str(threads),
                                                       "--runs", str(n), "--precision", precision, "--json"]
    return machine.run_json(cmd, threads)


def measure(args, name, threads):
    system = SYSTEMS[name]
    torch.set_num_threads(threads)
    count, runs = runs_of(system, args.peers.split(","))
    torch_samples, our_rounds = {k: [] for k in runs}, {p: [] for p in args.precisions.split(",")}
    for _ in range(args.rounds):
        for p, rounds in our_rounds.items():
            rounds.append(time_ours(args.trial, system, threads, args.runs, p))
        for k, run in runs.items():
            torch_samples[k] += time_torch(run, args.runs)
    row = {"system": name, "threads": threads}
    for k, s in torch_samples.items():
        row[k] = (statistics.median(s), min(s), machine.p90(s))
    for p, rounds in our_rounds.items():
        row["ours" if p == "fp32" else "ours " + p] = (statistics.median(r["median_ms"] for r in rounds),
                                                       min(r["min_ms"] for r in rounds),
                                                       statistics.median(r["p90_ms"] for r in rounds))
    if count + system.unused != our_rounds["fp32"][0]["params"]:
        sys.exit("%s: the PyTorch module has %d parameters, ours %d" % (name, count, our_rounds["fp32"][0]["params"]))
    row["macs"] = our_rounds["fp32"][0]["macs"]
    print("%s, %d threads: ours %.1f ms, eager %.1f ms, %.2f" %
          (name, threads, row["ours"][0], row["eager"][0], row["ours"][0] / row["eager"][0]), flush=True)
    return row


def table(rows, rounds, runs):
    names = [n for n in ("ours", "ours bf16") + peers.NAMES if any(n in r for r in rows)]
    fp32 = [n for n in peers.NAMES if n != "bf16"]
    has_bf16 = "ours bf16" in names and "bf16" in names
    head = ["system", "multiply-adds, G", "threads"] + ["%s, ms" % n for n in names] + ["ours / eager", "ours / best fp32 peer"]
    head += ["bf16: ours / eager fp32", "bf16: ours / eager bf16"] if has_bf16 else []
    out = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for r in rows:
        cells = [r["system"], "%.1f" % (r["macs"] / 1e9), str(r["threads"])]
        cells += ["%.1f (%.1f, %.1f)" % r[n] if n in r else "-" for n in names]
        best = min(r[k][0] for k in fp32 if k in r)
        cells += ["**%.2f**" % (r["ours"][0] / r["eager"][0]), "%.2f" % (r["ours"][0] / best)]
        if has_bf16:
            cells += ["%.2f" % (r["ours bf16"][0] / r["eager"][0]),
                      "%.2f" % (r["ours bf16"][0] / r["bf16"][0]) if "bf16" in r else "-"]
        out.append("| " + " | ".join(cells) + " |")
    out += ["", "Cells: median (minimum, 90th percentile) of %d rounds of %d queries each, the systems in turns." % (rounds, runs),
            ""]
    for r in rows:
        ratio, goal = r["ours"][0] / r["eager"][0], SYSTEMS[r["system"]].goal
        out.append("- Goal for %s, at most %.2f of eager PyTorch: %d threads %.2f, %s." %
                   (r["system"], goal, r["threads"], ratio, "met" if ratio <= goal else "missed"))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", required=True, help="path of avsweep-trial")
    ap.add_argument("--systems", default=",".join(SYSTEMS))
    ap.add_argument("--threads", default="2,1")
    ap.add_argument("--peers", default=",".join(peers.NAMES))
    ap.add_argument("--precisions", default="fp32,bf16", help="of ours; fp32 is always among them")
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    unknown = [s for s in args.systems.split(",") if s not in SYSTEMS]
    if unknown or "fp32" not in args.precisions.split(","):
        sys.exit("systems are %s; precisions hold fp32" % ", ".join(SYSTEMS))
    torch.randn(64, 64) @ torch.randn(64, 64)  # maps the BLAS
    about = machine.lines(args.trial)
    rows = [measure(args, s, int(t)) for s in args.systems.split(",") for t in args.threads.split(",")]
    given = [a for a in sys.argv[1:] if a not in ("--trial", args.trial, "--out", args.out)]
    text = ["# Forward time of whole systems, T = 1, 224 px (SAVE 256, Stepping Stones 384)", "",
            "Command: `%s`. Random weights; evaluation mode; inputs ready in memory; the audio network inside." %
            " ".join(["bench/forward.sh"] + given), ""]
    text += about + ["- load average at the end: %s" % machine.load(), ""] + table(rows, args.rounds, args.runs)
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        f.write("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
