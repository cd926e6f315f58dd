"""CoNLL, linking and multimodal scores."""
