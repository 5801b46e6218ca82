"""The server: settings composed into an app."""
