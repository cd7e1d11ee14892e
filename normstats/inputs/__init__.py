"""What a user brings: a checkpoint, an architecture and images."""

from normstats.inputs.architectures import build_architecture
from normstats.inputs.checkpoints.reading import Checkpoint, read_checkpoint
from normstats.inputs.checkpoints.weights import load_into
from normstats.inputs.images import Images, open_images
from normstats.inputs.models import LoadedModel, input_channels, load, load_model
from normstats.inputs.own_methods import load_method
from normstats.inputs.preprocessing import Preprocessing
from normstats.inputs.zoos.recognition import Recognition, recognise

__all__ = [
    "Checkpoint",
    "Images",
    "LoadedModel",
    "Preprocessing",
    "Recognition",
    "build_architecture",
    "input_channels",
    "load",
    "load_into",
    "load_method",
    "load_model",
    "open_images",
    "read_checkpoint",
    "recognise",
]
