#!/usr/bin/env python3
"""Writes statistics.csv: numbers of scipy and numpy that our statistics are tested against.

    python3 -m venv venv && venv/bin/pip install numpy scipy && venv/bin/python statistics.py > statistics.csv

Rows: name; value; arguments, lists separated by spaces. Seeds are fixed, so that the file repeats.
"""
import itertools
import sys

import numpy as np
import scipy
from scipy import stats


def row(name, value, *args):
    texts = [" ".join(repr(float(v)) for v in np.atleast_1d(a)) for a in args]
    print(";".join([name, repr(float(value))] + texts))


def wilcoxon_by_enumeration(d):
    """Every pattern of signs, mid-ranks, zeros dropped."""
    d = d[d != 0]
    r = stats.rankdata(np.abs(d))
    seen = abs(r[d > 0].sum() - r.sum() / 2)
    sums = [abs(np.dot(s, r) - r.sum() / 2) for s in itertools.product((0, 1), repeat=len(d))]
    return np.mean(np.array(sums) >= seen - 1e-9)


def holm(p):
    order = np.argsort(p, kind="stable")
    out, running = np.empty(len(p)), 0.0
    for k, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - k) * p[i]))
        out[i] = running
    return out


def bootstrap(repeats, k, draws, rng):
    """Repeats drawn with replacement, samples of each drawn with replacement, median of their k-th smallest."""
    values = []
    for _ in range(draws):
        chosen = rng.integers(0, len(repeats), len(repeats))
        values.append(np.median([np.partition(rng.choice(repeats[c], len(repeats[c])), k)[k] for c in chosen]))
    return np.percentile(values, [2.5, 97.5])


def main():
    rng = np.random.default_rng(20260801)
    print(f"# scipy {scipy.__version__}, numpy {np.__version__}", file=sys.stderr)
    for df in (1, 2, 3, 4, 7, 9, 29, 99, 999, 2.5, 17.3):
        for p in (0.6, 0.9, 0.95, 0.975, 0.995, 0.99999):
            row("t_quantile", stats.t.ppf(p, df), p, df)
        for t in (-40, -6.5, -2.1, -0.3, 0, 0.7, 3.3, 12):
            row("t_cdf", stats.t.cdf(t, df), t, df)
    for n in (2, 3, 5, 12, 40):
        a = rng.normal(0.7, 0.01, n)
        b = a + rng.normal(0.004, 0.006, n)
        r = stats.ttest_rel(a, b)
        ci = r.confidence_interval(0.95)
        row("paired_p", r.pvalue, a, b)
        row("paired_lo", ci.low, a, b)
        row("paired_hi", ci.high, a, b)
        c = rng.normal(0.703, 0.02, n + 1)
        r = stats.ttest_ind(c, a, equal_var=False)
        row("welch_p", r.pvalue, a, c)
        row("welch_lo", r.confidence_interval(0.95).low, a, c)
    for n in (1, 2, 5, 9, 12):
        d = rng.normal(0.3, 1, n)
        row("wilcoxon", stats.wilcoxon(d, mode="exact").pvalue, d)
        row("wilcoxon", wilcoxon_by_enumeration(np.round(d * 2)), np.round(d * 2))
    for n in (20, 50):
        d = rng.normal(0.3, 1, n)
        row("wilcoxon", stats.wilcoxon(d, mode="exact").pvalue, d)
    for n in (60, 200):
        d = np.round(rng.normal(0.2, 1, n), 1)
        row("wilcoxon", stats.wilcoxon(d, zero_method="wilcox", correction=False, mode="approx").pvalue, d)
    for n in (1, 4, 15):
        p = np.round(rng.uniform(0, 0.2, n), 2)
        for i, v in enumerate(holm(p)):
            row("holm", v, p, i)
    for n in (10, 100, 1000):
        x = np.round(rng.normal(100, 5, n) + np.arange(n) * 20 / n)
        row("kendall", stats.kendalltau(np.arange(n), x, method="asymptotic").statistic, x)
    for n in (64, 100, 200, 500, 1000, 1024, 7914):
        t = max(k for k in range(n) if stats.binom.cdf(k, n, 0.1) <= 0.01)
        row("early_stop", t, 0.9, n)
    for sizes, share in (((200, 200, 200), 0.5), ((64, 100, 150, 300), 0.5), ((500, 400), 0.9), ((30, 30, 30), 0)):
        repeats = [np.round(1000 + 30 * i + rng.lognormal(3, 0.7, n)) for i, n in enumerate(sizes)]
        k = [int(n * share) for n in sizes]
        if len(set(k)) > 1:  # one k for each repeat: bootstrap each to the same length
            m = min(sizes)
            repeats = [r[:m] for r in repeats]
        lo, hi = bootstrap(repeats, int(len(repeats[0]) * share), 20000, rng)
        name = {0.5: "p50", 0.9: "p90", 0: "min"}[share]
        row("boot_lo_" + name, lo, *repeats)
        row("boot_hi_" + name, hi, *repeats)


main()
