"""Why a candidate is as fast and as accurate as it is: answers that changed, classes, weights, layers, causes."""
