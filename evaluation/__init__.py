"""From predictions to scores: dialogues with labels, pools of candidates, baselines, the report."""
