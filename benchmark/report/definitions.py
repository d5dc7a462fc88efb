"""What each column of the tables means and where its definition comes from."""

DEFINITIONS = (
    (
        "Checkpoint",
        "Which weights were sampled, where a table has both: the last ones of the training, or "
        "the best, those of the lowest KID of a few samples against test images.",
        "",
    ),
    (
        "NFE",
        "Number of network passes that one image takes (number of function evaluations). "
        "Classifier-free guidance takes two a step, which run as one batch.",
        "",
    ),
    (
        "ms/pass, ms/image",
        "Median milliseconds of one network pass, and of one image end to end, at batch 1. "
        "Compiled and warmed up; the clock stops when the result lies in host memory.",
        "",
    ),
    (
        "images/s",
        "Images per second, end to end, at the largest batch that was useful on the device.",
        "",
    ),
    (
        "KID ×1000",
        "Kernel Inception distance: unbiased squared maximum mean discrepancy with a cubic "
        "polynomial kernel; mean ± standard deviation over subsets. Lower is better; small "
        "negative values are valid.",
        "Bińkowski et al. 2018",
    ),
    (
        "digit KID ×1000",
        "The same distance in the features of a digit classifier, as ImageNet features say "
        "little about digits.",
        "",
    ),
    (
        "Modes",
        "Classes that hold at least a tenth of their real share among the samples of which the "
        "classifier is sure. On Stacked MNIST, where each channel is judged alone: classes of at "
        "least one sample.",
        "after Metz et al. 2017",
    ),
    (
        "KL",
        "Kullback-Leibler divergence of the generated from the real class histogram (on Stacked "
        "MNIST: from equal shares), in nats. "
        "The floor is what a perfect sampler would score at the same number of samples.",
        "",
    ),
    (
        "Rejected %",
        "Share of the samples of which the classifier is not sure: its confidence (on Stacked "
        "MNIST, the product of those in the three channels) is below 90 %. It may be sure of "
        "images far from all digits, such as noise; those show in KID and precision.",
        "",
    ),
    (
        "Right class %",
        "Of a class-conditional model: share of the samples that show, to the classifier, the "
        "class that they were asked for.",
        "",
    ),
    (
        "Precision, Recall",
        "Share of generated images within the real manifold, and of real images within the "
        "generated one, both estimated by k-nearest-neighbour balls.",
        "Kynkäänniemi et al. 2019",
    ),
    (
        "Density, Coverage",
        "Their forms that are robust to outliers. Coverage is the share of real images with a "
        "generated image in their neighbourhood; density may exceed 1.",
        "Naeem et al. 2020",
    ),
    (
        "Vendi",
        "Vendi score: the number of wholly different images that the samples amount to, under the "
        "cosine similarity of the mode classifier's features. Compare with the test images' row.",
        "Friedman, Dieng 2023",
    ),
    (
        "Authentic %",
        "Share of the samples that are farther from their nearest training image than that is from "
        "its own nearest other one, in pixels, over all training images. Even unseen real images "
        "are below 100: compare with their row.",
        "Alaa et al. 2022",
    ),
    (
        "Copied %",
        "Share of the samples whose nearest training image is at less than a third of the "
        "distance of the second nearest: copies.",
        "Yoon et al. 2023",
    ),
    (
        "Parameters, Train time",
        "Parameters of the networks that sampling uses, and the wall-clock time of training.",
        "",
    ),
    (
        "GFLOPs/pass",
        "Billions of floating-point operations of one network pass for one image: convolutions, "
        "matrix products and attention, a multiplication and its addition as two; element-wise "
        "work is not counted.",
        "",
    ),
    (
        "Peak memory",
        "Most memory in use while images are made end to end, at the batch of images/s, in "
        "megabytes. On a GPU, of the tensors there; on a processor, of the whole process, the "
        "framework and the data included.",
        "",
    ),
    (
        "mode collapse",
        "A note of rows whose samples cover at most half of the modes that as many test images "
        "cover, or whose Vendi score is below a third of theirs.",
        "",
    ),
    (
        "collapsed_latents",
        "In trilemma.csv, of a VAE: latent dimensions whose posterior tells nothing of the image. "
        "Their KL divergence from the prior is below 0.01 nats, mean over test images.",
        "after Lucas et al. 2019",
    ),
    (
        "test images, noise, repeated image",
        "Checks of the measurement itself: what unseen real images score (the floor), what "
        "noise scores, and what one real image scores when it is repeated.",
        "",
    ),
)
