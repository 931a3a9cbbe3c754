"""The peers against the golden values of the reference implementations: a peer that computes something else times something
else. Prints the relative L2 distance of each; fails above 1e-4. Run it with the Python of the benchmarks.
"""
import os
import re
import sys

import torch
import torch.nn.functional as F

import aavs
import avsegformer
import lightavseg
import peers
import probe
import sam
import swin
import tpavi

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "golden")
LIMIT = 1e-4


def two_branches(key):
    """AVSBench's ResNet names its last stages after the branch."""
    return re.sub(r"^(backbone|resnet)\.layer([34])\.", r"\1.layer\2_1.", key)


def pvt(key):
    m = re.match(r"backbone\.stages\.(\d)\.(.*)", key)
    if not m:
        return key
    i, rest = int(m.group(1)) + 1, m.group(2)
    rest = rest.replace("mlp.dwconv.", "mlp.dwconv.dwconv.")
    for old, new in (("proj.", "patch_embed%d.proj." % i), ("embed_norm.", "patch_embed%d.norm." % i),
                     ("norm.", "norm%d." % i), ("blocks.", "block%d." % i)):
        if rest.startswith(old):
            return "backbone." + new + rest[len(old):]
    return key


def stage_one(key):
    return "a." + key.replace("self_attn.output_proj.", "self_attn.avs_adapt.")


def same(key):
    return key


def low(y):
    """SAVE's golden is the map before the last resize."""
    return F.interpolate(y, size=(256, 256), mode="bilinear", align_corners=False)


CASES = (
    ("avsegformer-r50-s4-eval", lambda: avsegformer.AVSegFormer(vggish=False), two_branches, "pred", None, {}),
    ("avsegformer-r50-s4-eval-released", lambda: avsegformer.AVSegFormer(variant="released", vggish=False), two_branches,
     "pred", None, {}),
    ("avsegformer-pvtv2-s4-eval", lambda: avsegformer.AVSegFormer("pvt_v2_b5", vggish=False), pvt, "pred", None, {}),
    ("save-vitb-256-eval", lambda: sam.Save(vggish=False), same, "mask_logits_low", low, {}),
    ("lightavseg-l-s4-eval", lambda: lightavseg.LightAVSeg("l"), same, "logits", None, {}),
    ("avsbench-r50-s4-eval", lambda: tpavi.Baseline(vggish=False), two_branches, "logits", None, {"t": 5}),
    ("steppingstones-avs-eval", lambda: aavs.Aavs(vggish=False), stage_one, "mask_logits", None, {}),
    ("swin-features", lambda: swin.Swin(adapters=True), same, "feature4", None, {}),
)


def main():
    worst = 0.0
    for case, make, rename, output, change, more in CASES:
        about, given, want = probe.golden(os.path.join(GOLDEN, case))
        model = make().eval()
        probe.fill(model, rename)
        sound = given.get("audio_feature", given.get("audio", given.get("mel")))
        inputs = [given["frames"]] if sound is None else [sound, given["frames"]]
        with torch.no_grad():
            got, ref = peers.last(model(*inputs, **more)), want[output]
        ref = change(ref) if change else ref
        far = float((got - ref).norm() / ref.norm())
        worst = max(worst, far)
        print("%-36s %.1e" % (case, far), flush=True)
    if worst > LIMIT:
        sys.exit("a peer differs from its golden by more than %g" % LIMIT)


if __name__ == "__main__":
    main()
