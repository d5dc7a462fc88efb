"""Compares a VAE, a DCGAN and diffusion models on sample quality, speed and mode coverage."""

__version__ = "0.1.0"
