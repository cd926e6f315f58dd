"""Dialogues varied while training.

Random numbers come from torch's CPU generator, so that a resumed run draws what the whole one would have drawn.
"""

import torch
from torch import Tensor


def hide_characters(input_ids: Tensor, token_speaker: Tensor, share: float, hidden_id: int) -> Tensor:
    """Replace that share of the dialogue's tokens [N, L] by `hidden_id`; title and specials (speaker 0) stay."""
    chosen = (torch.rand(input_ids.shape) < share).to(input_ids.device)
    return input_ids.masked_fill(chosen & (token_speaker > 0), hidden_id)
