"""Start a training run in this process, as one of several hosts, or on a Ray cluster."""

import argparse
import logging

from bdd100k.training.run import train, train_on_hosts
from mrcnn.errors import InputError

log = logging.getLogger("bdd100k")


def start(args: argparse.Namespace, defaults: argparse.Namespace) -> int:
    """Train as the command line of scripts/train.py says.

    Args:
        args: of the command line.
        defaults: the command line without an option.

    Returns:
        The exit code.

    Raises:
        InputError: options contradict each other; see `train_on_hosts` and `bdd100k.training.on_ray.train_on_ray`.
    """
    if args.engine == "ray":
        from bdd100k.training.on_ray import train_on_ray

        if args.workers is None:
            raise InputError("--engine ray needs the number of processes that train together: --workers N")
        if args.hosts or args.host_index is not None:
            raise InputError("--engine ray finds the hosts itself: leave --hosts and --host-index out")
        train_on_ray(args, defaults, args.workers)
        return 0
    if args.workers is not None:
        raise InputError(
            f"--workers {args.workers} goes with --engine ray; without Ray see --hosts. The threads that make batches "
            "are --loaders"
        )
    if bool(args.hosts) != (args.host_index is not None):
        raise InputError("--hosts HOST:PORT,... and --host-index N (which of them this one is, from 0) go together")
    if args.hosts:
        return train_on_hosts(args, defaults, [address.strip() for address in args.hosts.split(",")])
    return train(args, defaults)
