"""No-op trials through Optuna with an SQLite store: peer_optuna.py TRIALS FILE."""
import sys
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage=f"sqlite:///{sys.argv[2]}", sampler=optuna.samplers.RandomSampler(seed=0))
study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=int(sys.argv[1]))
assert len(study.trials) == int(sys.argv[1])
