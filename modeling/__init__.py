"""The Hub model repository: configuration, model, processor, pipeline."""
