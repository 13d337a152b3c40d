"""Training with Lightning: modules, data modules, optimisers, trainers, checkpoints."""
