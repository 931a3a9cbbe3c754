"""No-op trials through Ray Tune: peer_tune.py TRIALS FOLDER."""
import sys
import ray
from ray import tune

ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
tuner = tune.Tuner(
    lambda config: {"x": 1},
    param_space={"i": tune.grid_search(list(range(int(sys.argv[1]))))},
    run_config=tune.RunConfig(storage_path=sys.argv[2], verbose=0),
)
assert len(tuner.fit()) == int(sys.argv[1])
