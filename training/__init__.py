"""Training with accelerate: recipes, batches, building the model, the loop, checkpoints."""
