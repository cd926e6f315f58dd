"""The scores that stand first, in one line: for a progress bar, a log, the end of a command."""

from collections.abc import Mapping

from tiktalkcoref.evaluate_metric.labels import LABELS

NAMES = {key: LABELS[key] for key in ("conll_f1", "mention_f1")}


def headline(scores: Mapping[str, float], digits: int = 3) -> str:
    """Like `CoNLL F1 0.716 · R@1 0.912 (chance 0.850, pool 1.43)`: recall is nothing without what chance gives."""
    parts = [f"{name} {scores[key]:.{digits}f}" for key, name in NAMES.items() if key in scores]
    if scores.get("linking_n"):
        recall, chance = (scores[f"linking_{score}_at_1"] for score in ("recall", "chance"))
        pool = scores["linking_mean_pool"]
        parts.append(f"R@1 {recall:.{digits}f} (chance {chance:.{digits}f}, pool {pool:.2f})")
    return " · ".join(parts)
