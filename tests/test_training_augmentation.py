"""Characters hidden while training: which, how many, and drawn again alike from the same state."""

import torch

from tiktalkcoref.training.batches import hide_characters

HIDDEN = 4


def test_only_characters_of_the_dialogue_are_hidden():
    ids = torch.arange(10, 10 + 4000).view(8, 500)
    speaker = torch.zeros_like(ids)
    speaker[:, 100:400] = 1
    speaker[:, 250:400] = 2
    torch.manual_seed(0)
    state = torch.get_rng_state()
    read = hide_characters(ids, speaker, 0.25, HIDDEN)
    changed = read != ids
    assert (read[changed] == HIDDEN).all()
    assert not changed[speaker == 0].any()
    assert 0.21 < changed[speaker > 0].float().mean() < 0.29  # 2,400 draws: four standard deviations
    assert ids.min() == 10  # the given ids stay: queries are made of them
    torch.set_rng_state(state)
    assert torch.equal(hide_characters(ids, speaker, 0.25, HIDDEN), read)
