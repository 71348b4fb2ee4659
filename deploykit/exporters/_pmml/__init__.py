"""PMML: dense networks as the markup language of statistical models has them."""
