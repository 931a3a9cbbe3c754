#!/usr/bin/env python3
"""A PyTorch script under avsweep: a small network learns which of two sines is louder.

Everything avsweep needs is in three places, marked 1 to 3. See docs/exec-trials.md."""
import argparse
import json
import os
import signal
import sys

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--hidden", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=150)
args = parser.parse_args()


# 1. Numbers are JSON objects, one a line, on descriptor 3 (stdout when run by hand).
out = os.fdopen(int(os.environ.get("AVSWEEP_METRICS_FD", 1)), "w", buffering=1)


def say(**fields):
    print(json.dumps(fields), file=out)


# 2. SIGTERM asks for a checkpoint and exit status 75; the same folder is given to the next attempt.
folder = os.environ.get("AVSWEEP_WORK_DIR", ".")
checkpoint = os.path.join(folder, "state.pt")
stop = False


def on_term(*_):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)

torch.manual_seed(args.seed)
torch.set_num_threads(int(os.environ.get("AVSWEEP_THREADS", 1)))


def batch(n, generator):
    loud = torch.rand(n, 2, generator=generator)
    t = torch.linspace(0, 6.28, 64)
    x = loud[:, :1] * torch.sin(3 * t) + loud[:, 1:] * torch.sin(7 * t)
    return x + 0.05 * torch.randn(x.shape, generator=generator), (loud[:, 0] > loud[:, 1]).float()


model = torch.nn.Sequential(torch.nn.Linear(64, args.hidden), torch.nn.ReLU(), torch.nn.Linear(args.hidden, 1))
optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
data = torch.Generator().manual_seed(args.seed + 1)
first = 0
if os.path.exists(checkpoint):
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    data.set_state(state["data"])
    first = state["step"]
    say(resumed=checkpoint, step=first)


def save(step):
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "data": data.get_state(), "step": step}
    torch.save(state, checkpoint + ".tmp")
    os.replace(checkpoint + ".tmp", checkpoint)
    say(checkpoint=checkpoint, step=step)


for step in range(first, args.steps):
    x, y = batch(32, data)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 10 == 0:
        say(step=step, steps=args.steps, loss=loss.item())
    if stop:
        save(step + 1)
        sys.exit(75)

# 3. The final numbers.
with torch.no_grad():
    x, y = batch(1000, torch.Generator().manual_seed(12345))
    accuracy = ((model(x)[:, 0] > 0) == (y > 0.5)).float().mean().item()
save(args.steps)
say(result={"accuracy": {"value": accuracy, "unit": "fraction", "better": 1}}, split="test")
