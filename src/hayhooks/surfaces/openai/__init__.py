"""The OpenAI wire."""
