"""SavedModels read without TensorFlow."""
