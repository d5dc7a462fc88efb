"""People judge images, one at a time, as real or generated, after HYPE (Zhou et al. 2019).

    python -m benchmark.humans model=ddpm,vae

opens a page on this machine. A person sees equal numbers of real test images and samples in random
order, and says which is which. The human error of a model is the mean of two error rates: its
samples judged real, and real images judged generated. 50 % is the level of chance.
"""
