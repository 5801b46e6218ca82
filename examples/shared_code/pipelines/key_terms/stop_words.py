STOP_WORDS = ["a", "an", "and", "are", "at", "in", "is", "it", "of", "on", "or", "the", "to", "was", "with"]
