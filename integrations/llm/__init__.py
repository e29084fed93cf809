"""Talking to language models: what is asked, over which server, and what came back."""
