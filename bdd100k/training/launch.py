"""Starts a training run in this process, as one of several hosts, or on a Ray cluster."""

import argparse
import logging

from bdd100k.training.run import train, train_on_hosts
from mrcnn.errors import InputError

log = logging.getLogger("bdd100k")


def start(args: argparse.Namespace, defaults: argparse.Namespace) -> int:
    """Train according to the command line of scripts/train.py.

    Args:
        args: Parsed command line.
        defaults: Parsed command line without any option.

    Returns:
        The exit code.

    Raises:
        InputError: Options contradict each other; see also `train_on_hosts` and `bdd100k.training.on_ray.train_on_ray`.
    """
    if args.engine == "ray":
        from bdd100k.training.on_ray import train_on_ray

        if args.workers is None:
            raise InputError("--engine ray needs --workers N, the number of processes that train together")
        if args.hosts or args.host_index is not None:
            raise InputError("--engine ray finds the hosts itself; leave out --hosts and --host-index")
        train_on_ray(args, defaults, args.workers)
        return 0
    if args.workers is not None:
        raise InputError(
            f"--workers {args.workers} needs --engine ray; to train on several hosts without Ray, see --hosts. The "
            "number of threads that prepare batches is --loaders"
        )
    if bool(args.hosts) != (args.host_index is not None):
        raise InputError(
            "--hosts HOST:PORT,... and --host-index N (the position of this host in that list, from 0) "
            "must be given together"
        )
    if args.hosts:
        return train_on_hosts(args, defaults, [address.strip() for address in args.hosts.split(",")])
    return train(args, defaults)
