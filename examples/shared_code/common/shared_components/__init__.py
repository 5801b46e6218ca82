from shared_components.word_counter import WordCounter

__all__ = ["WordCounter"]
