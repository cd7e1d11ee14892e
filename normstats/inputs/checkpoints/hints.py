"""How to mend what is wrong with a checkpoint, where several refusals say the same."""

GIVE_WEIGHTS = "Give a PyTorch file written by torch.save, or a safetensors file."
COPY_AGAIN = "Copy or download it again, and compare its size with the original's."
SAVE_WEIGHTS = (
    "Where the file was written, save the weights alone: torch.save(model.state_dict(), "
    '"weights.pt"), or as safetensors. Nothing here unpickles code, whatever the options.'
)
