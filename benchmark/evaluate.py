"""`python -m benchmark.evaluate`: quality and diversity of samples that were made elsewhere."""

from benchmark.cli import main_of_evaluation as main

if __name__ == "__main__":
    main()
