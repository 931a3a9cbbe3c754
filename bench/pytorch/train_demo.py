"""The demo recipe trained twice on the same cores in one run: by avsweep-trial and by PyTorch. After every epoch both
score the validation split; the clock of each counts training steps only (batch making included, reading the data set
and scoring left out). Each then scores the test split with its best checkpoint. Run it through bench/train-demo.sh.
"""
import argparse
import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import torch

import avesformer_mini as mini
import machine
import ms3

LR, WEIGHT_DECAY, WARMUP, POWER, CLIP = 2e-3, 0.01, 30, 0.9, 5.0
BATCH, FRAMES = 8, 2  # clips of a step, random frames of each
TARGET = 0.5


def tensors(frames, masks, mel, clips, picks, flip=None):
    """Rows of (clip, frame) -> normalised frames (R,3,S,S), mel (R,96,64), masks (R,1,S,S); flip: bool per row."""
    x = torch.from_numpy(frames[clips, picks]).permute(0, 3, 1, 2).float().div_(255).sub_(mini.MEAN).div_(mini.STD)
    t = torch.from_numpy(masks[clips, picks])[:, None].float()
    if flip is not None:
        f = torch.from_numpy(flip)[:, None, None, None]
        x, t = torch.where(f, x.flip(3), x), torch.where(f, t.flip(3), t)
    return x.contiguous(), torch.from_numpy(mel[clips, picks]), t


def evaluate(model, data):
    frames, masks, mel, _ = data
    model.eval()
    total = []
    with torch.no_grad():
        for at in range(0, len(frames), 8):
            clips = np.repeat(np.arange(at, min(at + 8, len(frames))), 5)
            x, a, t = tensors(frames, masks, mel, clips, np.tile(np.arange(5), len(clips) // 5))
            total.append(mini.iou(model(x, a), t))
    model.train()
    return float(torch.cat(total).mean())


def train_torch(args, points):
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    cache = os.path.join(args.work, "cache")
    train, val, test = (ms3.load(args.data, s, cache) for s in ("train", "val", "test"))
    frames, masks, mel, names = train
    model = mini.AVESFormerMini().train()
    opt = mini.optimiser(model, LR, WEIGHT_DECAY)
    per_epoch = -(-len(names) // BATCH)
    seconds, best, best_state, order = 0.0, -1.0, None, np.empty(0, int)
    for step in range(args.steps):
        t0 = time.perf_counter()
        if len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(names))])
        chosen, order = order[:BATCH], order[BATCH:]
        clips = np.repeat(chosen, FRAMES)
        picks = np.concatenate([rng.choice(5, FRAMES, replace=False) for _ in chosen])
        x, a, t = tensors(frames, masks, mel, clips, picks, np.repeat(rng.random(BATCH) < 0.5, FRAMES))
        for group in opt.param_groups:
            group["lr"] = mini.rate(step, args.steps, LR, WARMUP, POWER)
        opt.zero_grad(set_to_none=True)
        loss = mini.loss(model(x, a), t)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        opt.step()
        seconds += time.perf_counter() - t0
        done = step + 1
        if done % per_epoch == 0 or done == args.steps:
            score = evaluate(model, val)
            points.append(("pytorch", done, seconds, score))
            print("pytorch step %d  %.1f s  loss %.4f  val mIoU %.4f" % (done, seconds, float(loss), score), flush=True)
            if score > best:
                best, best_state = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return {"test": evaluate(model, test), "best_val": best, "seconds": seconds,
            "params": sum(p.numel() for p in model.parameters())}


def train_ours(args, points):
    work = os.path.join(args.work, "ours")
    shutil.rmtree(work, ignore_errors=True)  # a checkpoint in it would be resumed
    os.makedirs(work)
    params = {"model": "avesformer_mini", "task": "ms3", "data_root": os.path.abspath(args.data), "audio_backbone": "mel_stats",
              "resolution": args.size, "steps": args.steps, "batch": BATCH, "frames_per_clip": FRAMES, "lr": LR,
              "weight_decay": WEIGHT_DECAY, "decay_norm_and_bias": False, "schedule": "polynomial", "schedule_power": POWER,
              "lr_warmup_steps": WARMUP, "grad_clip": CLIP, "augment": "flip", "flip_unit": "clip", "eval_every": 1,
              "eval_split": "test"}
    job = {"kind": "train", "model": "avesformer_mini", "task": "ms3", "params": params, "seed": args.seed, "trial": "",
           "threads": args.threads, "work_dir": os.path.abspath(work),
           "cache_dir": os.path.abspath(os.path.join(args.work, "cache"))}
    path = os.path.join(os.path.abspath(work), "JOB.json")
    with open(path, "w") as f:
        json.dump(job, f, indent=1)
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    run = subprocess.Popen([args.trial, "run", path], cwd=work, env=env, stdout=subprocess.PIPE, text=True)
    out, clock = {}, {}
    for line in run.stdout:
        m = re.match(r"step (\d+) (train_seconds|val_miou) (\S+)", line)
        if m and m.group(2) == "train_seconds":
            clock[int(m.group(1))] = float(m.group(3))
        elif m:
            step, score = int(m.group(1)), float(m.group(3))
            points.append(("avsweep", step, clock[step], score))
            print("avsweep step %d  %.1f s  val mIoU %.4f" % (step, clock[step], score), flush=True)
        m = re.match(r"result (\S+) (\S+)", line)
        if m:
            key = {"miou@test": "test", "miou@val": "best_val", "train_seconds": "seconds", "params": "params"}.get(m.group(1))
            if key:
                out[key] = float(m.group(2))
    if run.wait() != 0:
        sys.exit("%s run %s: exit status %d" % (args.trial, path, run.returncode))
    return out


def time_to(points, system, score):
    """Training seconds when the curve first reaches score, linear between checkpoints; None: never."""
    before = (0.0, 0.0)
    for who, _, seconds, value in points:
        if who != system:
            continue
        if value >= score:
            share = (score - before[1]) / (value - before[1])
            return before[0] + share * (seconds - before[0])
        before = (seconds, value)
    return None


def plot(points, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(6, 4))
    for system, colour, mark in (("avsweep", "#0072b2", "o"), ("pytorch", "#d55e00", "s")):
        mine = [(s / 60, 100 * v) for who, _, s, v in points if who == system]
        if mine:
            ax.plot(*zip(*mine), color=colour, marker=mark, label=system)
    ax.axhline(100 * TARGET, color="grey", linewidth=0.8, linestyle="--")
    ax.set_xlabel("training time, minutes")
    ax.set_ylabel("validation mIoU, %")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend()
    ax.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(path + ".svg")


def report(args, points, results, about):
    reach = {s: time_to(points, s, TARGET) for s in results}
    text = ["# Demo recipe: avsweep against PyTorch", "",
            "Command: `bench/train-demo.sh`. One seed, %d steps of %d clips x %d frames at %d px, %d threads, one system after"
            " the other." % (args.steps, BATCH, FRAMES, args.size, args.threads),
            "The clock counts training steps with their batches; reading the data set and scoring are left out.", ""]
    text += about + ["", "| | parameters | training, min | min to %.0f %% val mIoU | best val mIoU, %% | test mIoU, %% |" % (100 * TARGET),
                     "| --- | --- | --- | --- | --- | --- |"]
    for system, r in results.items():
        at = "%.2f" % (reach[system] / 60) if reach[system] is not None else "not reached"
        text.append("| %s | %.0f | %.2f | %s | %.1f | %.1f |" % (system, r["params"], r["seconds"] / 60, at,
                                                              100 * r["best_val"], 100 * r["test"]))
    if all(reach.get(s) is not None for s in ("avsweep", "pytorch")):
        text += ["", "Time to %.0f %%: avsweep / PyTorch = **%.2f**." % (100 * TARGET, reach["avsweep"] / reach["pytorch"])]
    text += ["", "![validation mIoU against minutes](train-demo.svg)"]
    base = os.path.join(args.out, "train-demo")
    os.makedirs(args.out, exist_ok=True)
    with open(base + ".csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["system", "step", "train_seconds", "val_miou"])
        w.writerows((s, n, "%.3f" % sec, "%.6f" % v) for s, n, sec, v in points)
    with open(base + ".md", "w") as f:
        f.write("\n".join(text) + "\n")
    plot(points, base)
    print("\n".join(text))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", help="path of avsweep-trial; without it PyTorch alone is trained")
    ap.add_argument("--data", default="demo/data")
    ap.add_argument("--work", default="demo/bench", help="scratch: job, checkpoints, cached arrays")
    ap.add_argument("--out", default="bench/results")
    ap.add_argument("--size", type=int, default=96)
    ap.add_argument("--steps", type=int, default=1100)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = ap.parse_args()
    torch.randn(64, 64) @ torch.randn(64, 64)  # maps the BLAS
    points, results = [], {}
    about = machine.lines(args.trial or "")
    if args.trial:
        results["avsweep"] = train_ours(args, points)
        about.append("- load average between the two: %s" % machine.load())
    results["pytorch"] = train_torch(args, points)
    report(args, points, results, about)


if __name__ == "__main__":
    main()
