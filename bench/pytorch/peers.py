"""The ways PyTorch offers to run one module: eager, channels_last, jit, torch.compile, ONNX Runtime on its export, and eager
under autocast to bf16. A way that fails, or changes the result, is named and left out.
"""
import copy
import io
import logging
import warnings

import torch

NAMES = ("eager", "channels_last", "jit", "compile", "onnxruntime", "bf16")
WARMUP = 3


def last(out):
    return out[-1] if isinstance(out, (list, tuple)) else out


def channels_last(net, inputs):
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    inputs = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    return lambda: net(*inputs)


def jit(net, inputs):
    traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, tuple(inputs))))
    return lambda: traced(*inputs)


def compiled(net, inputs):
    run = torch.compile(net)
    return lambda: run(*inputs)


def onnxruntime(net, inputs):
    import onnxruntime as ort
    f = io.BytesIO()
    kw = {"dynamo": False} if tuple(int(v) for v in torch.__version__.split(".")[:2]) >= (2, 5) else {}
    torch.onnx.export(net, tuple(inputs), f, opset_version=16, input_names=["i%d" % k for k in range(len(inputs))], **kw)
    cfg = ort.SessionOptions()
    cfg.intra_op_num_threads, cfg.inter_op_num_threads, cfg.log_severity_level = torch.get_num_threads(), 1, 3
    cfg.add_session_config_entry("session.intra_op.allow_spinning", "0")  # else it spins while the others are timed
    session = ort.InferenceSession(f.getvalue(), cfg, providers=["CPUExecutionProvider"])
    feed = {"i%d" % k: x.numpy() for k, x in enumerate(inputs)}
    return lambda: [torch.from_numpy(y) for y in session.run(None, feed)]


def bf16(net, inputs):
    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return net(*inputs)
    return run


def forward(net, inputs, wanted=NAMES):
    """name -> function of no arguments that runs one query. Call it under the number of threads that will be timed."""
    ways = {"channels_last": channels_last, "jit": jit, "onnxruntime": onnxruntime, "bf16": bf16}
    if hasattr(torch, "compile"):
        ways["compile"] = compiled
    out = {"eager": lambda: net(*inputs)}
    logging.getLogger("torch").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing: sizes are constants here
        want = last(net(*inputs))
        for name in NAMES:
            if name not in ways or name not in wanted:
                continue
            try:
                run = ways[name](net, inputs)
                for _ in range(WARMUP):
                    got = last(run())
                limit = 1e-1 if name == "bf16" else 1e-2
                if torch.allclose(got.float(), want, rtol=limit, atol=limit * float(want.abs().max())):
                    out[name] = run
                else:
                    print("%s changes the result by %g and is left out" % (name, (got - want).abs().max()))
            except Exception as e:  # a fault of the peer is reported, not fatal
                print("%s fails: %s" % (name, (str(e).strip().splitlines() or [type(e).__name__])[-1]))
    return out
