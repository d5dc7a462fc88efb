"""The generative models: networks, losses and samplers."""
