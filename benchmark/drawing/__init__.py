"""Pictures of images and of models: arrays in, figures out."""
