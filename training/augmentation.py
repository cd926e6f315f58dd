"""Dialogues varied while training: characters hidden, pictures mirrored, moved, scaled and lit differently.

Random numbers come from torch's CPU generator, so that a resumed run draws what the whole one would have drawn.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT, SCALE, LIGHT = 0.1, 0.15, 0.1  # largest change at full strength: share of the side, of the size, of the contrast


def hide_characters(input_ids: Tensor, token_speaker: Tensor, share: float, hidden_id: int) -> Tensor:
    """Replace that share of the dialogue's tokens [N, L] by `hidden_id`; title and specials (speaker 0) stay."""
    chosen = (torch.rand(input_ids.shape) < share).to(input_ids.device)
    return input_ids.masked_fill(chosen & (token_speaker > 0), hidden_id)


def vary_pictures(pixels: Tensor, strength: float) -> Tensor:
    """Vary each of R normalised pictures [R, 3, H, W] for itself; half of them are mirrored."""
    count = len(pixels)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift_x, shift_y, scale, light, offset = (2 * torch.rand(5, count) - 1) * strength
    scale = 1 + SCALE * scale
    zero = torch.zeros(count)
    moves = [scale * mirror, zero, 2 * SHIFT * shift_x, zero, scale, 2 * SHIFT * shift_y]
    theta = torch.stack(moves, 1).view(count, 2, 3).to(pixels)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    shape = (count, 1, 1, 1)
    return moved * (1 + LIGHT * light).view(shape).to(pixels) + (LIGHT * offset).view(shape).to(pixels)
