"""Training of the pocket models: data, captions, composition, training, evaluation, export."""
