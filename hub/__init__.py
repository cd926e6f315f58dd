"""The Hub: the prepared dataset folder, building and pushing the repositories, their cards."""
