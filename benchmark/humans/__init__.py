"""People who tell real images from generated ones, one at a time, after HYPE (Zhou et al. 2019).

    python -m benchmark.humans model=ddpm,vae

opens a page on this machine. A person sees real test images and samples in random order, as many of
each, and says which is which. The human error of a model is the mean of two rates of mistakes: its
samples taken for real, and real images taken for generated. At 50 % nobody can tell.
"""
