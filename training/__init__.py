"""Training with accelerate, evaluation and prediction."""
