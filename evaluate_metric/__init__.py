"""CoNLL, linking and multimodal scores: `score` one system, `compare` two. Needs numpy and scipy, nothing else."""

from .scoring import Scores, compare, score

__all__ = ["Scores", "compare", "score"]
