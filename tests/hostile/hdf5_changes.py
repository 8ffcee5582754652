"""Changes to HDF5 files and to bytes, from which the generators of weights and states compose their cases."""

import pathlib
import zlib
from collections.abc import Callable

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

Change = Callable[[h5py.Group, str, np.ndarray, np.random.Generator, pathlib.Path], np.ndarray | None]
# (group, name of an array in it, its value, ...) -> the value that a reader must find; None: it must refuse the file


def replace(group: h5py.Group, name: str, **options: object) -> h5py.Dataset:
    """Store another dataset under a name."""
    del group[name]
    return group.create_dataset(name, **options)


# ------------------------------------------------------------------------------------------------- right all the same


def other_float(group, name, value, rng, folder):
    """Store the same numbers in another type or byte order."""
    dtype = rng.choice(["<f8", ">f4", ">f8"])
    replace(group, name, data=value.astype(dtype))
    return value


def packed(group, name, value, rng, folder):
    """Compress an array with what h5py has."""
    options = [
        {"compression": "gzip"},
        {"compression": "lzf"},
        {"shuffle": True, "compression": 9},
        {"fletcher32": True},
    ]
    if value.ndim:
        replace(group, name, data=value, **options[rng.integers(len(options))])
    return value


def resizable(group, name, value, rng, folder):
    """Let an array grow, for which it is stored in chunks larger than itself."""
    if value.ndim:
        replace(group, name, data=value, maxshape=(None,) * value.ndim)
    return value


def two_names(group, name, value, rng, folder):
    """Let a second name lead to the same array."""
    group.file["alias of " + name.replace("/", " ")] = group[name]
    return value


def attributes_more(group, name, value, rng, folder):
    """Add attributes that no reader knows."""
    group[name].attrs["note"] = "\x1b[31m"
    group.attrs["numbers"] = rng.normal(size=5)
    return value


RIGHT: tuple[Change, ...] = (other_float, packed, resizable, two_names, attributes_more)

# ----------------------------------------------------------------------------------------------------- to be refused


def soft_link(group, name, value, rng, folder):
    """Replace an array by a soft link to an equal one."""
    other = "/equal to " + name.replace("/", " ")
    group.file[other] = value
    del group[name]
    group[name] = h5py.SoftLink(other)


def external_link(group, name, value, rng, folder):
    """Replace an array by a link to an equal one in another file."""
    with h5py.File(folder / "secret.h5", "a") as secret:
        secret[name] = value
    del group[name]
    group[name] = h5py.ExternalLink(str(folder / "secret.h5"), name)


def external_storage(group, name, value, rng, folder):
    """Let the values of an array stand in another file, of any format."""
    secret = folder / "secret.bin"
    secret.write_bytes(value.tobytes())
    if value.ndim == 0:
        return external_link(group, name, value, rng, folder)
    replace(group, name, shape=value.shape, dtype=value.dtype, external=[(str(secret), 0, value.nbytes)])


def virtual(group, name, value, rng, folder):
    """Make an array a view of one in another file."""
    if value.ndim == 0:
        return external_link(group, name, value, rng, folder)
    with h5py.File(folder / "source.h5", "a") as secret:
        secret[name] = value
    layout = h5py.VirtualLayout(value.shape, value.dtype)
    layout[...] = h5py.VirtualSource(str(folder / "source.h5"), name, value.shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def no_number(group, name, value, rng, folder):
    """Store text, bool, complex numbers, references or records of the same shape."""
    text = np.full(value.shape, "1.0", object)
    reference = np.full(value.shape, None, object)
    reference[...] = group.file.ref
    kind = rng.integers(9)
    if kind == 0:
        replace(group, name, data=value > 0)
    elif kind == 1:
        replace(group, name, data=value.astype(np.complex64))
    elif kind == 2:
        replace(group, name, data=value.astype("S8"))
    elif kind == 3:
        replace(group, name, data=text, dtype=h5py.string_dtype())
    elif kind == 4:
        replace(group, name, data=reference, dtype=h5py.ref_dtype)
    elif kind == 5:
        replace(group, name, shape=value.shape, dtype=h5py.vlen_dtype(np.float32))
    elif kind == 6:
        replace(group, name, data=np.zeros(value.shape, [("a", "f4"), ("b", "i2")]))
    elif kind == 7:
        replace(group, name, data=np.zeros(value.shape, "V4"))
    else:
        replace(group, name, data=np.zeros(value.shape, "i4"), dtype=h5py.enum_dtype({"a": 0, "b": 1}, "i4"))


def other_kind(group, name, value, rng, folder):
    """Store floats where integers are expected, and the other way round."""
    replace(group, name, data=value.astype("i4" if value.dtype.kind == "f" else "f4"))


def unusual_values(group, name, value, rng, folder):
    """Put a number that is not finite, or that float32 does not hold, into an array."""
    if value.dtype.kind != "f":
        return other_kind(group, name, value, rng, folder)
    value = value.astype("f8")
    value.flat[rng.integers(value.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -1e39])
    replace(group, name, data=value)


def other_shape(group, name, value, rng, folder):
    """Give an array another shape, number of axes or no values at all."""
    shapes = [(), (0,), (*value.shape, 1), (1,) * 32, (value.size + 1,), (2, *value.shape)]
    shape = shapes[rng.integers(len(shapes))]
    if shape == value.shape:
        shape = (3, 3)
    if rng.random() < 0.2:
        replace(group, name, data=h5py.Empty("f4"))
    else:
        replace(group, name, data=np.zeros(shape, value.dtype))


def claims(group, name, value, rng, folder):
    """Claim a shape of terabytes, or the right one, without storing values."""
    huge = rng.random() < 0.5
    shape = (10**6, 10**6, 3) if huge else value.shape or (1,)
    options: list[dict] = [{}, {"chunks": tuple(min(8, side) for side in shape)}, {"compression": "gzip"}]
    replace(group, name, shape=shape, dtype=value.dtype, **options[rng.integers(len(options))])


def partly_filled(group, name, value, rng, folder):
    """Store the first chunk of an array alone."""
    if value.ndim == 0 or value.shape[0] < 2:
        return claims(group, name, value, rng, folder)
    made = replace(group, name, shape=value.shape, dtype=value.dtype, chunks=(1, *value.shape[1:]))
    made[0] = value[0]


def bomb(group, name, value, rng, folder):
    """Store a chunk that unpacks to 32 MiB."""
    if value.ndim == 0:
        return claims(group, name, value, rng, folder)
    made = replace(group, name, shape=value.shape, dtype=value.dtype, chunks=value.shape, compression="gzip")
    made.id.write_direct_chunk((0,) * value.ndim, BOMB)


BOMB = zlib.compress(bytes(1 << 25), 9)


def plug_in(group, name, value, rng, folder):
    """Ask for a filter that is not part of HDF5."""
    if value.ndim == 0:
        return claims(group, name, value, rng, folder)
    del group[name]
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(value.shape)
    properties.set_filter(int(rng.choice([305, 32001, 32015])), h5z.FLAG_OPTIONAL)
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind, space = h5t.py_create(value.dtype), h5s.create_simple(value.shape)
    made = h5d.create(group.id, name.encode(), kind, space, dcpl=properties, lcpl=links)
    made.write_direct_chunk((0,) * value.ndim, value.tobytes())


def many_chunks(group, name, value, rng, folder):
    """Store each number as a chunk of its own, of an array that claims more than there are."""
    shape = (200_000,)
    replace(group, name, shape=shape, dtype=value.dtype, chunks=(1,))


def no_array(group, name, value, rng, folder):
    """Store a group, a type or nothing in place of an array."""
    del group[name]
    kind = rng.integers(3)
    if kind == 0:
        group.create_group(name)
    elif kind == 1:
        group[name] = np.dtype("f4")


REFUSED: tuple[Change, ...] = (
    soft_link,
    external_link,
    external_storage,
    virtual,
    no_number,
    other_kind,
    unusual_values,
    other_shape,
    claims,
    partly_filled,
    bomb,
    plug_in,
    many_chunks,
    no_array,
)


# --------------------------------------------------------------------------------------------------------------- bytes


def change_bytes(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Damage the bytes of a file and return how."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    length = int(rng.integers(1, 4096))
    kind = rng.choice(["flip", "flips", "zeros", "cut", "repeat", "swap", "noise"])
    if kind == "flip":
        content[place] ^= 1 << int(rng.integers(8))
    elif kind == "flips":
        for one in rng.integers(len(content), size=int(rng.integers(2, 40))).tolist():
            content[one] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        content[place : place + length] = bytes(len(content[place : place + length]))
    elif kind == "cut":
        del content[place:]
    elif kind == "repeat":
        content[place:place] = content[place : place + length]
    elif kind == "swap":
        content[place : place + length] = content[place : place + length][::-1]
    else:
        content[place : place + length] = rng.bytes(len(content[place : place + length]))
    path.write_bytes(content)
    return f"{kind} at byte {place}"
