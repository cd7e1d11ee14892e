"""What the user means by ``--images``."""

from __future__ import annotations

from pathlib import Path

from normstats.errors import ImagesError, SettingError
from normstats.inputs.images.arrays import open_array
from normstats.inputs.images.batches import Images
from normstats.inputs.images.folders import open_folder
from normstats.inputs.images.huggingface import open_huggingface
from normstats.inputs.images.sampling import sample
from normstats.inputs.images.source import Source, open_file
from normstats.inputs.images.tars import open_tar
from normstats.inputs.images.torchvision_datasets import (
    KNOWN,
    no_such_dataset,
    open_torchvision,
)
from normstats.inputs.preprocessing import Preprocessing
from normstats.printable import printable

_FORMS = (
    "Images are a folder, a .tar, an array in a .npy, .npz or .safetensors file, a torchvision "
    "dataset (cifar10:FOLDER) or a Hugging Face dataset (hf:NAME)."
)
_UNPACK = "A compressed archive can only be read from its beginning; unpack it first: "

_ONE_IMAGE = ("is one image", "Give the folder that holds the images.")
# Files that the user may mean, by their first bytes.
_OTHERS = (
    (b"\x1f\x8b", "is compressed with gzip", _UNPACK + "gunzip FILE"),
    (b"BZh", "is compressed with bzip2", _UNPACK + "bunzip2 FILE"),
    (b"\xfd7zXZ", "is compressed with xz", _UNPACK + "unxz FILE"),
    (b"(\xb5/\xfd", "is compressed with zstd", _UNPACK + "unzstd FILE"),
    (b"PAR1", "is a Parquet file", "Give the folder that holds it: hf:FOLDER"),
    (b"ARROW1", "is an Arrow file", "Give the folder that holds it: hf:FOLDER"),
    (b"\x89HDF", "is an HDF5 file", "Save the images with numpy.save."),
    (b"\xff\xd8\xff", *_ONE_IMAGE),
    (b"\x89PNG", *_ONE_IMAGE),
)

# Floating-point values go to the network as they are.
_AS_THEY_ARE = Preprocessing(mean=(0.0,), std=(1.0,))


def open_images(
    spec: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    resize: int | None = None,
    crop: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    limit: int | None = None,
    seed: int = 0,
    input_channels: int = 3,
    layout: str | None = None,
    allow_bad: bool = False,
) -> Images:
    """Open images, wherever they lie; what there is wins over what a name could mean.

    Args:
        spec: a folder of images, in class subfolders or flat; a ``.tar`` of them; an array in a
            ``.npy``, ``.npz`` or ``.safetensors`` file, of several the one in ``file:key``;
            ``cifar10:ROOT[:SPLIT]`` and other datasets of torchvision; ``hf:NAME[:SPLIT]`` for
            those of Hugging Face.
        preprocessing: what happens to pixels; by default, ImageNet's normalization alone. The
            values of floating-point arrays are taken as ready for the network.
        resize, crop, mean, std: in the place of those in ``preprocessing``; these apply to
            floating-point arrays too.
        limit: read a random sample of this many images, with every class in its share.
        seed: of the sample.
        input_channels: 3 to read RGB, 1 to read grey; of arrays, the number they must have.
        layout: ``nchw`` or ``nhwc``, where an array's shape does not tell.
        allow_bad: go on where more than 5 % of the images cannot be read.

    Raises:
        ImagesError: there are no images, they cannot be read, or it is not clear what is meant.
        SettingError: a limit below 1, an unknown layout, or a layout of what is no array.
    """
    if limit is not None and limit < 1:
        raise SettingError(
            f"The limit is {limit} images.",
            "Give a positive number, or leave it out for all images.",
        )
    if layout not in (None, "nchw", "nhwc"):
        raise SettingError(f"There is no layout {printable(layout)!r}.", "Give nchw or nhwc.")
    source = _open(str(spec), input_channels, layout)
    listing = source.listing
    usual = _AS_THEY_ARE if listing.ready else preprocessing or Preprocessing()
    used = usual.overridden(resize=resize, crop=crop, mean=mean, std=std)
    count = len(listing.names)
    return Images(
        source,
        sample(count, listing.labels, limit or count, seed),
        _for_channels(used, input_channels),
        input_channels,
        allow_bad=allow_bad,
    )


def _for_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    if channels in (1, 3):
        return preprocessing.for_channels(channels)
    if len(preprocessing.mean) == 1:  # which serves them all
        return preprocessing
    raise ImagesError(
        f"The network takes images of {channels} channels, and mean and std have "
        f"{len(preprocessing.mean)} values.",
        "Give one for all channels: --mean 0.5 --std 0.25, say.",
    )


def _open(spec: str, channels: int, layout: str | None) -> Source:
    path, key = _path_and_key(spec)
    kind = _kind_of_file(path) if path is not None and not path.is_dir() else None
    if path is not None and kind == "array":
        return open_array(path, key, channels, layout)
    if layout is not None:
        raise SettingError(
            f"The layout {layout} is for arrays, and {printable(spec)} is none.", "Leave it out."
        )
    if channels not in (1, 3):
        raise ImagesError(
            f"The network takes images of {channels} channels; image files give 3 (RGB) or 1 "
            "(grey).",
            "Give an array of such images: a .npy, .npz or .safetensors file.",
        )
    if path is None:
        return _open_by_name(spec)
    if key is not None:
        raise ImagesError(
            f"{printable(path)} holds no arrays, so none called {printable(key)!r}.",
            f"Give the file alone: {printable(path)}",
        )
    return open_tar(path) if kind == "tar" else open_folder(path)


def _path_and_key(spec: str) -> tuple[Path | None, str | None]:
    """What exists under that path, or under it up to the last colon; None if neither does."""
    home, colon, key = spec.rpartition(":")
    if not spec:  # which as a path is the current folder
        raise ImagesError("The name of the images is empty.", _FORMS)
    try:
        if (path := Path(spec).expanduser()).exists():
            return path, None
        if colon and (path := Path(home).expanduser()).is_file():
            return path, key
    except (OSError, RuntimeError) as error:  # too long a name, no such user
        reason = printable(error).removesuffix(".")
        raise ImagesError(f"{printable(spec)} cannot be read: {reason}.", _FORMS) from error
    return None, None


def _kind_of_file(path: Path) -> str:
    """Whether a file is an ``array`` or a ``tar``, by its content."""
    shown = printable(path)
    try:
        with open_file(path) as file:
            head = file.read(512)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImagesError(
            f"{shown} cannot be read: {reason}.", "Check that it is a file that you may read."
        ) from error
    if head.startswith((b"\x93NUMPY", b"PK")) or head[8:9] == b"{":
        return "array"
    if head[257:262] == b"ustar" or (head and path.suffix.lower() == ".tar"):
        return "tar"
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise ImagesError(f"{shown} {what}, where images were expected.", hint)
    raise ImagesError(
        f"{shown} is a file whose first bytes ({head[:4].hex(' ')}) belong to no collection of "
        "images."
        if head
        else f"{shown} is empty.",
        _FORMS,
    )


def _open_by_name(spec: str) -> Source:
    kind, colon, place = spec.partition(":")
    if colon and kind == "hf" and place:
        return open_huggingface(place)
    if colon and kind.lower() in KNOWN and place:
        return open_torchvision(kind, place)
    shown = printable(spec)
    if kind == "hf" or kind.lower() in KNOWN:
        raise ImagesError(
            f"{shown} is not complete.",
            "Write hf:NAME or hf:FOLDER."
            if kind == "hf"
            else f"Write {kind}:FOLDER, with the folder that torchvision calls the root.",
        )
    if colon and "/" not in kind:
        raise ImagesError(
            f"There is no folder or file {shown}, and no dataset {printable(kind)!r}.",
            no_such_dataset(kind) or _FORMS,
        )
    raise ImagesError(
        f"There is no folder or file {shown}.", f"Paths are taken from {printable(Path.cwd())}."
    )
