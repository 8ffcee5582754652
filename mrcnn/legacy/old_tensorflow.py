"""What scripts call of TensorFlow 1: sessions, graphs and their settings, where TensorFlow 2 computes at once.

Detection and training need no session, so those that only surround them run. What builds or reads a graph cannot, and
says so.
"""

import contextlib
import functools
import logging
import random
import sys
from types import ModuleType
from typing import Any

from mrcnn.backend import runtime
from mrcnn.errors import InputError
from mrcnn.legacy.old_python import fall_back

log = logging.getLogger(__name__)

INSTEAD = (
    "Keras 3 computes at once and has no graph of TensorFlow 1 or placeholders to feed. For values inside the network "
    "call model.run_graph(images, [(name, tensor), ...]); otherwise call functions on arrays"
)
NOT_FROZEN = (
    "Keras 3 has no graph of TensorFlow 1 that could be frozen or read. To deploy the network, write a SavedModel with "
    "model.keras_model.export(folder, input_signature=[[keras.InputSpec(shape=array.shape, dtype='float32') for array "
    "in (molded_images, image_metas, anchors)]]), where the arrays are like those of a detection"
)
# what works only inside such a graph
GRAPH_ONLY = ("placeholder", "placeholder_with_default", "sparse_placeholder", "import_graph_def")
NOTHING_TO_DO = (
    "disable_eager_execution",
    "disable_resource_variables",
    "disable_v2_behavior",
    "disable_v2_tensorshape",
    "enable_eager_execution",
    "global_variables_initializer",
    "initialize_all_variables",
    "local_variables_initializer",
    "reset_default_graph",
    "tables_initializer",
)


class Graph:
    """Stands for the graph that a script makes its own around detection: entering it changes nothing."""

    @contextlib.contextmanager
    def as_default(self) -> Any:
        """Do nothing, and return this graph."""
        yield self

    def finalize(self) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise InputError(f"graph.{name}: {NOT_FROZEN}")


class Session:
    """Stands for a session: applies its settings, and gives the values of tensors that are computed already."""

    def __init__(self, target: str = "", graph: Any = None, config: Any = None) -> None:
        """Apply the settings.

        Args:
            target: Ignored; there is no server to connect to.
            graph: Any graph, or None.
            config: A tf.ConfigProto, or None.

        Raises:
            InputError: The settings name a GPU that is not there.
        """
        self.graph = Graph() if graph is None else graph
        if config is not None:
            configure(config)

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Return the values of tensors and variables, in the structure in which they are given.

        Raises:
            InputError: Something is to be fed, or a value would have to be computed in a graph.
        """
        if feed_dict:
            raise InputError(f"session.run(..., feed_dict): {INSTEAD}")
        return sys.modules["tensorflow"].nest.map_structure(_value, fetches)

    @contextlib.contextmanager
    def as_default(self) -> Any:
        """Do nothing, and return this session."""
        yield self

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


default_session = functools.cache(Session)
default_graph = functools.cache(Graph)


def set_random_seed(seed: int) -> None:
    """Seed the operations of TensorFlow, and Python's generator, from which Keras draws seeds for the first weights."""
    random.seed(seed)
    sys.modules["tensorflow"].random.set_seed(seed)


def restore_tensorflow(tf: ModuleType) -> None:
    """Give tensorflow what scripts call of TensorFlow 1.

    tf.log, tf.ConfigProto and all other names that only tensorflow.compat.v1 has are taken from there.
    """
    v1 = tf.compat.v1
    restore_v1(v1)
    vars(tf)["Graph"] = Graph  # the only one of them that tensorflow has too
    fall_back(tf, lambda name: getattr(v1, name, None))


def restore_v1(v1: ModuleType) -> None:
    """Let what makes sessions and graphs in a tensorflow.compat.v1 do without them.

    Inside a graph, which Keras traces, everything stays as it was.
    """
    names: dict[str, Any] = {"Graph": Graph, "Session": Session, "InteractiveSession": Session}
    names |= {name: _nothing for name in NOTHING_TO_DO} | {"set_random_seed": set_random_seed}
    eagerly: dict[str, Any] = {"get_default_graph": default_graph, "get_default_session": default_session}
    eagerly |= {name: functools.partial(_refuse, f"tf.{name}: {INSTEAD}") for name in GRAPH_ONLY}
    names |= {name: _unless_traced(v1, function, getattr(v1, name)) for name, function in eagerly.items()}
    for name, value in names.items():
        setattr(v1, name, value)
    restore_graph_util(v1.graph_util)


def restore_graph_util(graph_util: ModuleType) -> None:
    """Let a graph_util of TensorFlow say that there is no graph to freeze."""
    for name in ("convert_variables_to_constants", "extract_sub_graph"):
        vars(graph_util)[name] = functools.partial(_refuse, f"graph_util.{name}: {NOT_FROZEN}")


def configure(config: Any) -> None:
    """Apply the settings of a tf.ConfigProto to the process.

    allow_growth, visible_device_list, device_count and the numbers of threads act as they did. Instead of a fraction of
    the GPU's memory TensorFlow takes what it needs. Settings that come after the first use of a device are too late.

    Raises:
        InputError: visible_device_list names a GPU that is not there.
    """
    if runtime.backend_name() != "tensorflow":
        log.warning("tf.ConfigProto has no effect: this process computes with %s", runtime.backend_name())
        return
    import tensorflow as tf

    options, gpus = config.gpu_options, tf.config.list_physical_devices("GPU")
    try:
        if options.visible_device_list:
            gpus = [gpus[int(number)] for number in options.visible_device_list.split(",")]
            tf.config.set_visible_devices(gpus, "GPU")
        if config.device_count.get("GPU", 1) == 0:
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if options.allow_growth or options.per_process_gpu_memory_fraction else []:
            tf.config.experimental.set_memory_growth(gpu, True)
        if config.intra_op_parallelism_threads:
            tf.config.threading.set_intra_op_parallelism_threads(config.intra_op_parallelism_threads)
        if config.inter_op_parallelism_threads:
            tf.config.threading.set_inter_op_parallelism_threads(config.inter_op_parallelism_threads)
    except RuntimeError as error:
        log.warning("tf.ConfigProto comes too late and has no effect: give it before the model is made (%s)", error)
    except IndexError:
        raise InputError(
            f"visible_device_list is {options.visible_device_list!r}, but TensorFlow finds {len(gpus)} GPUs"
        ) from None


@functools.cache
def let_tf_identity_take_symbols() -> None:
    """Let tf.identity accept a symbolic tensor of Keras: notebooks wrap the `input_image` that they pass to run_graph.

    Keras 3 raises there. Nothing else changes, and nothing happens if TensorFlow is not loaded.
    """
    if "tensorflow" not in sys.modules:
        return
    import keras

    dispatcher: Any = sys.modules["tensorflow"].__internal__.dispatch.GlobalOpDispatcher

    class IdentityOfSymbols(dispatcher):
        def handle(self, op: Any, args: tuple, kwargs: dict) -> Any:
            """Return the output of an Identity layer; leave any other call to TensorFlow."""
            value = args[0] if args else kwargs.get("input")
            if getattr(op, "__name__", "") == "identity" and isinstance(value, keras.KerasTensor):
                return keras.layers.Identity()(value)
            return self.NOT_SUPPORTED

    IdentityOfSymbols().register()


def _value(fetched: Any) -> Any:
    """Return the value of something that `run` is to fetch; None for what has nothing to compute."""
    if fetched is None or not isinstance(fetched, str):
        try:
            return fetched if fetched is None else fetched.numpy()
        except (AttributeError, NotImplementedError):
            pass
    raise InputError(f"session.run({fetched!r}): {INSTEAD}")


def _refuse(message: str, *args: Any, **kwargs: Any) -> Any:
    raise InputError(message)


def _unless_traced(v1: ModuleType, function: Any, original: Any) -> Any:
    """Return a function that calls `function`, but `original` while a graph is traced, as Keras and TensorFlow do."""

    @functools.wraps(original)
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (function if v1.executing_eagerly() else original)(*args, **kwargs)

    return choose


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""
