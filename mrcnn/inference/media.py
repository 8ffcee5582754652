"""Read images and videos as one stream of frames, and write videos frame by frame, one frame in memory at a time.

Frames are uint8 [H, W, 3] RGB.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

import cv2
import numpy as np

from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.data.images import read_image
from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.user_files import open_file

# What OpenCV or Pillow reads, some of it depending on how they were built
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".dds", ".sgi", ".ico", ".ras"}
)
# Images that need another program: they are tried and counted as unreadable, not passed over
FOREIGN_SUFFIXES = frozenset(
    {".heic", ".heif", ".psd", ".svg", ".exr", ".hdr", ".jxl", ".jxr", ".dcm", ".raw"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}
)
# Suffixes of videos, and the codec with which every build of OpenCV can write them.
VIDEO_CODES = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
GRAY_SUFFIXES = frozenset({".pgm", ".pbm"})  # formats without colours
# Videos that OpenCV reads; their results are written as .mp4
OTHER_VIDEOS = frozenset({".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".3gp", ".ogv"})
DEFAULT_FPS = 25.0  # for files that do not state theirs


@dataclasses.dataclass(frozen=True)
class Source:
    """A file to read: `path`, and `name`, its POSIX path below the given folder, or its file name."""

    path: pathlib.Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the suffix is that of a video."""
        return self.path.suffix.lower() in VIDEO_CODES.keys() | OTHER_VIDEOS

    @property
    def result_name(self) -> str:
        """The name of the picture or video with the result: in another format (a.tga.png) where OpenCV cannot write the
        source's.
        """
        suffix = self.path.suffix.lower()
        if self.is_video:
            known, instead = suffix in VIDEO_CODES, ".mp4"
        else:
            known = suffix not in GRAY_SUFFIXES and cv2.haveImageWriter(f"_{suffix}")
            instead = ".png"
        return self.name if known else self.name + instead


@dataclasses.dataclass
class Frame:
    """An image of a source: `image` uint8 [H, W, 3]; of a video also its index (from 0) and frames per second."""

    source: Source
    image: np.ndarray
    index: int | None = None
    fps: float = 0.0

    @property
    def name(self) -> str:
        """The name of an image; a frame of clip.mp4 is called as in BDD100K, clip-0000001.jpg (counted from 1)."""
        if self.index is None:
            return self.source.name
        return f"{pathlib.PurePosixPath(self.source.name).with_suffix('')}-{self.index + 1:07d}.jpg"


def find_sources(paths: Sequence[str | os.PathLike], out: str | os.PathLike | None = None) -> list[Source]:
    """Return the images and videos that paths stand for.

    Args:
        paths: files with any suffix, and folders, which are searched recursively for images and videos, also of formats
            that cannot be read, so that they are not passed over.
        out: folder of the results, which get the same names; files in it are left out.

    Returns:
        Sources in the order of the paths, those of a folder sorted by name.

    Raises:
        InputError: no such path, a folder without images and videos, two files of one name, or a result would
            overwrite its source.
    """
    out = None if out is None else pathlib.Path(out).resolve()
    sources: list[Source] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            if path.resolve() == out:
                raise InputError(f"{path} is also the folder for the results; give another --out")
            sources += _in_folder(path, out)
        elif path.exists():
            sources.append(Source(path, path.name))
        else:
            raise InputError(f"{path}: no such file or folder")
    _refuse_clashes(sources, out)
    return sources


def _in_folder(folder: pathlib.Path, out: pathlib.Path | None) -> list[Source]:
    known = IMAGE_SUFFIXES | VIDEO_CODES.keys() | OTHER_VIDEOS
    files = [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in known | FOREIGN_SUFFIXES
        and not p.name.startswith(".")
        and p.is_file()
        and not (out and p.resolve().is_relative_to(out))
    ]
    if not files:
        raise InputError(f"{folder}: no images or videos; looked for {', '.join(sorted(known))}")
    return [Source(p, p.relative_to(folder).as_posix()) for p in files]


def _refuse_clashes(sources: Iterable[Source], out: pathlib.Path | None) -> None:
    taken: dict[str, Source] = {}
    for source in sources:
        name = source.result_name
        other = taken.setdefault(name, source)
        if other is not source:
            raise InputError(
                f"{other.path} and {source.path} would give results of one name, {name}; "
                "give them in two runs with an --out each"
            )
        if out and (out / name) == source.path.resolve():
            raise InputError(f"the result for {source.path} would overwrite it; give another --out")


def count_frames(sources: Iterable[Source]) -> int:
    """Return how many frames `read_frames` will yield according to the file headers, for a progress bar."""
    return sum(_announced(source.path) if source.is_video else 1 for source in sources)


def read_frames(
    sources: Iterable[Source], failed: Callable[[Source, str], None], max_pixels: int = MAX_PIXELS
) -> Iterator[Frame]:
    """Yield all frames of all sources, one source after the other.

    Args:
        sources: what to read.
        failed: called with a source that cannot be read to its end, and the reason; the next source follows.
        max_pixels: the maximum number of pixels of an image or frame.
    """
    for source in sources:
        try:
            if source.is_video:
                yield from _video_frames(source, max_pixels)
            else:
                yield Frame(source, read_image(source.path, max_pixels))
        except InputError as error:
            failed(source, str(error))


def _video_frames(source: Source, max_pixels: int) -> Iterator[Frame]:
    open_file(source.path).close()  # OpenCV would wait for a pipe
    capture = cv2.VideoCapture(os.fspath(source.path))
    try:
        if not capture.isOpened():
            raise InputError(f"{source.path}: not a video that can be decoded; copy it again or leave it out")
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not width * height <= max_pixels:  # true of NaN too
            raise InputError(
                f"{source.path}: frames of {width:.0f} x {height:.0f} have more than {max_pixels} pixels; --max-pixels "
                "raises this limit"
            )
        announced = _count(capture)
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS
        index = 0
        while True:
            success, image = capture.read()
            if not success:
                break
            yield Frame(source, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index, fps)
            index += 1
    finally:
        capture.release()
    # some cameras announce a frame or two more than they write
    if index == 0 or index < 0.99 * announced - 2:
        raise InputError(f"{source.path}: ends after {index} of {announced} frames; copy it again")


def _announced(path: pathlib.Path, unreadable: int = 1) -> int:
    if not path.is_file():
        return unreadable
    capture = cv2.VideoCapture(os.fspath(path))
    count = _count(capture) if capture.isOpened() else unreadable
    capture.release()
    return count


def _count(capture: cv2.VideoCapture) -> int:
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and count > 0 else 0


class VideoFile:
    """Writes a video frame by frame; the file gets its name when the block ends without an error.

    with VideoFile(path, fps, (height, width)) as video:
        video.add(image)
    """

    def __init__(self, path: str | os.PathLike, fps: float, size: tuple[int, int]) -> None:
        """Open a temporary file beside `path`, with its suffix, which tells OpenCV the format.

        Args:
            path: its suffix is one of VIDEO_CODES.
            fps: frames per second.
            size: (height, width) px of all frames.

        Raises:
            InputError: the file cannot be written.
        """
        self.path, self.size = pathlib.Path(path), size
        self._frames = 0
        self._open = contextlib.ExitStack()
        suffix = self.path.suffix.lower()
        if suffix not in VIDEO_CODES:
            raise InputError(f"{self.path}: cannot be written; the name of a video ends in {', '.join(VIDEO_CODES)}")
        code = cv2.VideoWriter.fourcc(*VIDEO_CODES[suffix])
        with contextlib.ExitStack() as stack:
            self._part = stack.enter_context(written_whole(self.path, durable=False, suffix=suffix))
            self._name = stack.enter_context(_plain_name(self._part))
            self._writer = cv2.VideoWriter(self._name, code, fps, (size[1], size[0]))
            if not self._writer.isOpened():
                raise InputError(f"{self.path}: cannot be written ({size[1]} x {size[0]} at {fps:g} frames per second)")
            stack.push(self._finish)
            self._open = stack.pop_all()

    def __enter__(self) -> "VideoFile":
        return self

    def add(self, image: np.ndarray) -> None:
        """Write a frame, uint8 [H, W, 3] of the size of the video."""
        assert image.shape[:2] == self.size, f"a frame of {image.shape} in a video of {self.size}"
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        if kind is None and _announced(pathlib.Path(self._name), 0) < 0.99 * self._frames - 2 * (
            self.path.suffix.lower() == ".mkv"  # it states a duration, not a count
        ):
            raise InputError(f"{self.path}: OpenCV could not write the video to its end; is the disk full?")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


@contextlib.contextmanager
def _plain_name(path: pathlib.Path) -> Iterator[str]:
    """Yield a name of an existing file that OpenCV takes: it crashes on folders whose names are no UTF-8."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        plain = pathlib.Path(f"/proc/self/fd/{folder}", path.name)
        yield os.fspath(plain if plain.exists() else path)
    finally:
        os.close(folder)
