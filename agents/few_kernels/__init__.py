"""How an update is written for a GPU, where every kernel takes time to start."""
