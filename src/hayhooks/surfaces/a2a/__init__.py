"""A2A surface: every deployment that chats is an agent which other agents can discover and call."""
