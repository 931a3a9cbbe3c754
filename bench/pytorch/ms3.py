"""Reads a composed MS3 data set (Multi-sources/) into arrays: frames and masks as bytes, log-mel in float32. Made once
and kept in a cache file beside the results.
"""
import csv
import os
import wave

import numpy as np
from PIL import Image


def mel_matrix():
    """257 x 64, triangles linear in mel from 125 to 7500 Hz, peak 1 (data/logmel.h)."""
    def mel(f):
        return 1127.0 * np.log(1.0 + f / 700.0)

    m = mel(np.linspace(0.0, 8000.0, 257))[:, None]
    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    w = np.maximum(0.0, np.minimum((m - low) / (centre - low), (high - m) / (high - centre)))
    w[0] = 0.0
    return w


MEL = mel_matrix()
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)


def log_mel(path, count):
    with wave.open(path) as f:
        if f.getframerate() != 16000 or f.getsampwidth() != 2:
            raise ValueError("%s: expected 16 kHz, 16 bits" % path)
        x = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, f.getnchannels()).mean(1) / 32768.0
    n = 1 + (len(x) - 400) // 160
    at = np.arange(400)[None] + 160 * np.arange(n)[:, None]
    spectrum = np.abs(np.fft.rfft(x[at] * HANN, 512, axis=1))
    out = np.log(spectrum @ MEL + 0.01)
    return out[:96 * count].reshape(count, 96, 64).astype(np.float32)


def load(root, split, cache):
    """-> frames u8 [N,5,H,W,3], masks u8 [N,5,H,W] of 0 and 1, mel f32 [N,5,96,64], names."""
    meta = os.path.join(root, "Multi-sources", "ms3_meta_data.csv")
    base = os.path.join(root, "Multi-sources", "ms3_data")
    kept = os.path.join(cache, "ms3-%s.npz" % split)
    with open(meta, newline="") as f:
        rows = list(csv.reader(f))
    at = rows[0].index("split")
    names = [r[0] for r in rows[1:] if r[at] == split]
    stamp = "%d %d %s" % (os.stat(meta).st_mtime_ns, len(names), os.path.abspath(root))
    if os.path.exists(kept):
        z = np.load(kept)
        if str(z["stamp"]) == stamp:
            return z["frames"], z["masks"], z["mel"], names
    frames, masks, mel = [], [], []
    for name in names:
        frames.append([np.asarray(Image.open("%s/visual_frames/%s/%s.mp4_%d.png" % (base, name, name, t)).convert("RGB"))
                       for t in range(1, 6)])
        masks.append([np.asarray(Image.open("%s/gt_masks/%s/%s/%s_%d.png" % (base, split, name, name, t))) > 127
                      for t in range(1, 6)])
        mel.append(log_mel("%s/audio_wav/%s/%s.wav" % (base, split, name), 5))
    frames, masks, mel = np.array(frames, np.uint8), np.array(masks, np.uint8), np.array(mel, np.float32)
    os.makedirs(cache, exist_ok=True)
    np.savez(kept, frames=frames, masks=masks, mel=mel, stamp=stamp)
    return frames, masks, mel, names
