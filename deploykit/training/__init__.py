"""Training: objectives, schedules, progress, early stop; trainers for Keras 3, and for tf_keras across a bridge."""
