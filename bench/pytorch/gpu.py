"""T=1 latency on a GPU, inputs resident: ours (one graph launch per frame) against PyTorch eager, torch.compile and autocast,
system by system on the same device. Run it through scripts/gpu-check.sh, or: python3 bench/pytorch/gpu.py --trial PATH
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch

import forward


def timed(run, n):
    samples = []
    for i in range(n + 20):
        torch.cuda.synchronize()
        t = time.perf_counter_ns()
        run()
        torch.cuda.synchronize()
        if i >= 20:
            samples.append((time.perf_counter_ns() - t) / 1e6)
    return statistics.median(samples)


def torch_rows(name, runs):
    system = forward.SYSTEMS[name]
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = system.make(system.resolution).eval().cuda()
    inputs = [torch.randn(1, 1, 96, 64).cuda(), torch.randn(1, 3, system.resolution, system.resolution).cuda()]
    ways = {"eager": model}
    try:
        ways["compile max-autotune"] = torch.compile(model, mode="max-autotune")
    except (AttributeError, RuntimeError) as why:
        print(f"| {name} | torch.compile | not available: {why} | |")
    for way, call in ways.items():
        for precision in ("fp32", "bf16"):
            try:
                with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                    print(f"| {name} | PyTorch {way} | {precision} | {timed(lambda: call(*inputs), runs):.3f} |", flush=True)
            except Exception as why:  # a compiler that fails on one system must not end the report
                print(f"| {name} | PyTorch {way} | {precision} | failed: {str(why).splitlines()[0][:80]} |", flush=True)


def our_rows(name, trial, runs):
    for precision in ("fp32", "tf32", "bf16"):
        words = [trial, "bench-forward", *forward.SYSTEMS[name].options, "--backend", "cuda", "--precision", precision,
                 "--runs", str(runs), "--json"]
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ)
        figure = f"failed: {done.stderr.strip()[:100]}"
        if done.returncode == 0:
            figure = f"{json.loads(done.stdout)['median_ms']:.3f}"
        print(f"| {name} | avsweep | {precision} | {figure} |", flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--trial", required=True, help="path of avsweep-trial")
    ap.add_argument("--systems", default="avesformer-resnet50,avsegformer-resnet50")
    ap.add_argument("--runs", type=int, default=200)
    args = ap.parse_args()
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}\n\n| system | how | precision | median ms |")
    print("| --- | --- | --- | --- |")
    for name in args.systems.split(","):
        our_rows(name, args.trial, args.runs)
        torch_rows(name, args.runs)


if __name__ == "__main__":
    main()
